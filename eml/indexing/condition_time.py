"""A time limit of conditions on rows, for who answers strangers: a condition may be made to take minutes."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from eml.errors import ConfigError

_STEPS = 20_000  # of SQLite's machine between two looks at the clock, about a millisecond
_seconds: ContextVar[float | None] = ContextVar("seconds of a condition", default=None)


@contextmanager
def conditions_within(seconds: float) -> Iterator[None]:
    """Let no condition on rows take longer while the block runs, in this thread or task."""
    token = _seconds.set(seconds)
    try:
        yield
    finally:
        _seconds.reset(token)


@contextmanager
def timed(connection: sqlite3.Connection) -> Iterator[None]:
    """Interrupt what the connection does in this block when the time is over, where there is a limit.

    Raises:
        ConfigError: It was interrupted.
    """
    if (seconds := _seconds.get()) is None:
        yield
        return
    end = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        text = f"the condition takes more than {seconds:g} seconds with this index; write fewer comparisons"
        raise ConfigError(text, code="not-a-condition", parameter="where") from None
    finally:
        connection.set_progress_handler(None, 0)
