"""An end in time on SIGTERM, also where the main thread hangs and cannot answer it.

Python runs a signal's handler in the main thread, between two of its instructions. A thread that waits inside torch or
the system, for another process or a disk that does not answer, never comes so far. But the number of the signal is
written to a pipe at once, and a thread of its own waits there.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

ENDING = 8.0
"""Seconds after SIGTERM in which a command must have ended or begun to save. Docker kills after 10."""
SAVING = 300.0
"""Seconds after SIGTERM in which what is being saved must be saved."""


class _Moment:
    """The state of the process, which its main thread sets and the guarding thread reads.

    Attributes:
        saving: How many blocks of `saving` are open.
        saved: When the last one was left.
        advice: What to tell when the process is ended.
        answer: Called at SIGTERM in place of ending the process.
    """

    saving = 0
    saved = 0.0
    advice = ""
    answer: Callable[[], None] | None = None


_moment = _Moment()


@contextmanager
def saving() -> Iterator[None]:
    """Give the process time to save what it saves in the block."""
    _moment.saving += 1
    try:
        yield
    finally:
        _moment.saving -= 1
        _moment.saved = time.monotonic()


def set_advice(text: str) -> None:
    """Set what to tell when the process has to be ended, such as how to go on."""
    _moment.advice = text


@contextmanager
def advice_for_run() -> Iterator[None]:
    """Forget at the end of the block the advice that was set in it."""
    try:
        yield
    finally:
        set_advice("")


@contextmanager
def answered_by(answer: Callable[[], None]) -> Iterator[None]:
    """Have a function called at SIGTERM, in place of ending the process in time; for one that ends with others."""
    _moment.answer = answer
    try:
        yield
    finally:
        _moment.answer = None


@contextmanager
def signals_held(*numbers: signal.Signals) -> Iterator[None]:
    """Delay signals until after the block. Processes started in it never see one: this process ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Give signals the handlers again that they had before the block: torch's launcher leaves its own, which raise."""
    names = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")
    before = {number: signal.getsignal(number) for name in names if (number := getattr(signal, name, None))}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None and handler is not signal.getsignal(number):  # None: it is not of Python
                signal.signal(number, handler)


@contextmanager
def guarded(code: int, *, for_good: bool) -> Iterator[None]:
    """End the process some seconds after a SIGTERM in the block, unless the block is left before.

    Args:
        code: The exit code then.
        for_good: The process ends after the block, which the guard sees to as well.

    On Windows nobody sends a SIGTERM that a process could answer, and signals are not written to pipes: no guard.
    """
    if threading.current_thread() is not threading.main_thread() or sys.platform == "win32":
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    came, left = threading.Event(), threading.Event()
    thread = threading.Thread(target=_watch, args=(reader, came, left, code), daemon=True)
    thread.start()
    try:
        yield
    finally:
        if not (for_good and came.is_set()):
            left.set()
            signal.set_wakeup_fd(before)
            os.close(writer)
            thread.join()
            os.close(reader)


def _watch(reader: int, came: threading.Event, left: threading.Event, code: int) -> None:
    while (number := os.read(reader, 1)) != bytes([signal.SIGTERM]):
        if not number:
            return
    came.set()
    if _moment.answer is not None:
        _moment.answer()
        return
    begun = time.monotonic()
    while not left.wait(0.1):
        since = time.monotonic() - max(begun, _moment.saved)
        if since > (SAVING if _moment.saving else ENDING):
            _end(code)


def _end(code: int) -> None:
    """End the process and those that it has started, even if nobody reads what is told."""
    if multiprocessing := sys.modules.get("multiprocessing"):
        for child in multiprocessing.active_children():
            child.kill()
    if os.environ.get("LOCAL_RANK", "0") == "0":
        tell(_text())
    os._exit(code)


def tell(text: str) -> None:
    """Write a line to stderr for a process that is about to end, and give up if nobody reads it."""
    telling = threading.Thread(target=_write, args=(text,), daemon=True)
    telling.start()
    telling.join(0.5)


def _text() -> str:
    text = f"interrupted: the command did not come to an end within {ENDING:g} s of SIGTERM, so it was ended"
    if _moment.advice:
        text += f"; {_moment.advice}"
    return text


def _write(text: str) -> None:
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - no other thread can say it


def _forget() -> None:
    """Leave the parent's pipe to the parent, in a process that is forked."""
    with suppress(ValueError):
        signal.set_wakeup_fd(-1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
