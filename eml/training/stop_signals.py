"""Note Ctrl-C and SIGTERM, so that a run stops where its state can be saved."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Note the first SIGINT or SIGTERM; a second one kills as usual. Yields a function: whether one came."""
    requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield requested.is_set
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for handled, handler in before.items():
            signal.signal(handled, handler)

    def note(number: int, frame: FrameType | None) -> None:
        requested.set()
        restore()

    for number in before:
        signal.signal(number, note)
    try:
        yield requested.is_set
    finally:
        restore()
