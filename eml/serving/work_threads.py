"""A few threads that call functions one after the other, and forget at once what is no longer wanted."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, TypeVar

Output = TypeVar("Output")


class WorkThreads:
    """Threads that call functions in the order in which they came.

    A function whose future is cancelled before its turn is dropped with all that it holds, unlike in Python's
    ThreadPoolExecutor, which keeps it until its turn.

    Args:
        name: Of the threads.
        count: Of the threads.
    """

    def __init__(self, name: str, count: int = 1) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._is_closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"eml-{name}-{number}", daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable[[], Output]) -> Future[Output]:
        """Return the future of what a function returns."""
        future: Future[Output] = Future()
        entry = (function, future)
        with self._changed:
            self._waiting.append(entry)
            self._changed.notify()
        future.add_done_callback(lambda done: self._forget(entry) if done.cancelled() else None)
        return future

    def close(self) -> None:
        """End the threads when what waits is done."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _forget(self, entry: tuple[Callable[[], Any], Future[Any]]) -> None:
        with self._changed, suppress(ValueError):
            self._waiting.remove(entry)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    if self._is_closed:
                        return
                    self._changed.wait()
                function, future = self._waiting.popleft()
            settle(future, function)
            del function, future  # the thread must not keep the last image until the next one comes


def settle(future: Future[Any], function: Callable[[], Any]) -> None:
    """Put what a function returns or raises into a future, unless that was cancelled meanwhile."""
    try:
        value = function()
    except BaseException as error:  # whoever waits for it gets it
        with suppress(InvalidStateError):
            future.set_exception(error)
    else:
        with suppress(InvalidStateError):
            future.set_result(value)
