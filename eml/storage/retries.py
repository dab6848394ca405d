"""Requests that are repeated when they fail in passing: with growing waits, and within a budget."""

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from eml.errors import DataError
from eml.storage.failures import as_os_error, is_passing, plain_text

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class RetryPolicy:
    """The number of attempts of a request, and the waits between them."""

    attempts: int = 6
    """The attempts of one request, the first included."""
    first: float = 0.5
    """Seconds before the second attempt at most; twice as many before each later one."""
    longest: float = 20.0
    """Seconds of a wait at most."""
    object_seconds: float = 90.0
    """Seconds after the first attempt in which another one begins."""
    budget: float = 600.0
    """Seconds that all threads of a process wait in sum; when they are used up, the command ends."""
    refund: float = 0.2
    """Seconds that a request which succeeds gives back."""


POLICY = RetryPolicy()
_SILENT = 5.0  # seconds after which a user is told why nothing happens
_log = logging.getLogger("eml.storage")


class RetryBudget:
    """The seconds of waiting that are left to a process."""

    def __init__(self) -> None:
        self._lock, self._spent = threading.Lock(), 0.0

    def spend(self, seconds: float) -> bool:
        """Take the seconds of a wait; return whether there were as many."""
        with self._lock:
            if self._spent + seconds > POLICY.budget:
                return False
            self._spent += seconds
            return True

    def refund(self) -> None:
        """Give back what a request that succeeds is worth."""
        if self._spent:
            with self._lock:
                self._spent = max(0.0, self._spent - POLICY.refund)


_budgets: dict[int, RetryBudget] = {}
_reported: set[tuple[int, str]] = set()


def _tell(name: object, error: Exception, seconds: float) -> None:
    """Log once for each place and process that it is asked again."""
    place = "/".join(str(name).split("/")[:3])
    if seconds > _SILENT and (os.getpid(), place) not in _reported:
        _reported.add((os.getpid(), place))
        reason = as_os_error(error, name).strerror
        _log.warning("%s: %s; it is asked again for up to %.0f seconds", place, reason, POLICY.object_seconds)


def _budget() -> RetryBudget:
    return _budgets.setdefault(os.getpid(), RetryBudget())


def with_retries(request: Callable[[], Answer], name: object) -> Answer:
    """Return what a request returns; one that fails in passing is made again after a wait of random length.

    Args:
        request: The request.
        name: What is read, for errors.

    Raises:
        OSError: It failed for good, or as often as the policy says; FileNotFoundError for what is not there.
        DataError: The budget of the process is used up, since the place fails too often; or a package is missing.
    """
    begin, policy, budget = time.monotonic(), POLICY, _budget()
    for attempt in range(policy.attempts):
        try:
            answer = request()
        except (DataError, KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except Exception as error:  # of any package
            wait = random.uniform(0.5, 1.0) * min(policy.longest, policy.first * 2**attempt)
            late = time.monotonic() - begin + wait > policy.object_seconds
            if not is_passing(error) or attempt == policy.attempts - 1 or late:
                raise as_os_error(error, name) from error
            if not budget.spend(wait):
                text = f"{name}: {plain_text(error)}. Requests to this place fail too often: the command has waited "
                text += f"{policy.budget:.0f} seconds in all to repeat them. Run it again when the place answers"
                raise DataError(text, code="remote-failing") from error
            _tell(name, error, time.monotonic() - begin)
            time.sleep(wait)
        else:
            budget.refund()
            return answer
    raise AssertionError("a loop without an attempt")
