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
from eml.storage.failures import as_os_error, is_passing, is_unanswered

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
    """Seconds after the first attempt in which another one begins; of a place that has answered before and where
    nothing answers now, as while it is started again, there are as many attempts as these seconds allow."""
    budget: float = 600.0
    """Seconds in which a process waits, in one thread or in many; when they are used up, the command ends."""
    refund: float = 0.2
    """Seconds that a request which succeeds gives back."""

    def wait(self, attempt: int) -> float:
        """Return the seconds of the wait after an attempt at most; attempt: its number, from 1."""
        return min(self.longest, self.first * 2.0 ** min(attempt - 1, 30))


POLICY = RetryPolicy()
_SILENT = 5.0  # seconds after which a user is told why nothing happens
_log = logging.getLogger("eml.storage")


class RetryBudget:
    """The seconds in which a process has waited: those in which several threads wait count once."""

    def __init__(self) -> None:
        self._lock, self._spent = threading.Lock(), 0.0
        self._waiting, self._since = 0, 0.0

    @property
    def spent(self) -> float:
        """The seconds by now."""
        with self._lock:
            return self._seconds()

    def _seconds(self) -> float:
        return self._spent + (time.monotonic() - self._since if self._waiting else 0.0)

    def wait(self, seconds: float) -> bool:
        """Sleep for some seconds; return False, at once, where the budget is used up by then."""
        with self._lock:
            if self._seconds() + seconds > POLICY.budget:
                return False
            if not self._waiting:
                self._since = time.monotonic()
            self._waiting += 1
        try:
            time.sleep(seconds)
        finally:
            with self._lock:
                self._waiting -= 1
                if not self._waiting:
                    self._spent += time.monotonic() - self._since
        return True

    def refund(self) -> None:
        """Give back what a request that succeeds is worth."""
        if self._spent:
            with self._lock:
                self._spent = max(0.0, self._spent - POLICY.refund)


_budgets: dict[int, RetryBudget] = {}
_reported: set[tuple[int, str]] = set()
_answered: set[tuple[int, str]] = set()
"""The places that have answered, by process."""


def _place(name: object) -> tuple[int, str]:
    return os.getpid(), "/".join(str(name).split("/")[:3])


def _tell(name: object, error: Exception, seconds: float) -> None:
    """Log once for each place and process that it is asked again."""
    if seconds > _SILENT and (place := _place(name)) not in _reported:
        _reported.add(place)
        _log.warning("%s: %s; it is asked again", place[1], as_os_error(error, name).strerror)


def _budget() -> RetryBudget:
    return _budgets.setdefault(os.getpid(), RetryBudget())


def with_retries(request: Callable[[], Answer], name: object) -> Answer:
    """Return what a request returns; one that fails in passing is made again after a wait of random length.

    Args:
        request: The request.
        name: What is read, for errors.

    Raises:
        OSError: It failed for good, or as often as the policy says; FileNotFoundError for what is not there.
        DataError: Nothing answers at the place; the budget of the process is used up, since the place fails too often;
            or a package is missing.
    """
    begin, policy, budget = time.monotonic(), POLICY, _budget()
    attempt = 0
    while True:
        attempt += 1
        try:
            answer = request()
        except (DataError, KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except Exception as error:  # of any package
            wait, seconds = random.uniform(0.5, 1.0) * policy.wait(attempt), time.monotonic() - begin
            is_dead = is_unanswered(error)
            is_last = attempt >= policy.attempts and not (is_dead and _place(name) in _answered)
            if not is_passing(error) or is_last or seconds + wait > policy.object_seconds:
                if is_dead:
                    raise _unanswered(name, error, attempt, seconds) from error
                raise as_os_error(error, name) from error
            _tell(name, error, seconds)
            if not budget.wait(wait):
                raise _used_up(name, error, budget.spent) from error
        else:
            budget.refund()
            if (place := _place(name)) not in _answered:
                _answered.add(place)
            return answer


def _unanswered(name: object, error: Exception, attempts: int, seconds: float) -> DataError:
    text = f"{_place(name)[1]}: {as_os_error(error, name).strerror}. It was asked "
    text += "once" if attempts == 1 else f"{attempts} times in {seconds:.0f} seconds"
    return DataError(f"{text}. Run the command again when it answers", code="remote-failing")


def _used_up(name: object, error: Exception, seconds: float) -> DataError:
    text = f"{_place(name)[1]}: requests to this place fail too often, the last one with: "
    text += f"{as_os_error(error, name).strerror}. The command has waited {seconds:.0f} seconds to repeat them. "
    return DataError(f"{text}Run it again when the place answers", code="remote-failing")
