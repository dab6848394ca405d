"""A command ends in time on SIGTERM, wherever its main thread hangs."""

import ctypes
import multiprocessing
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from eml import stopping
from eml.distributed import heartbeat as module
from eml.distributed.heartbeat import Heartbeat
from eml.stopping import guarded, saving, set_advice

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the tests fork")


def hang() -> None:
    """Wait for ever in a library, where no handler of Python's runs: for a lock that this thread holds."""
    mutex, library = ctypes.create_string_buffer(64), ctypes.CDLL(None)
    for _ in range(2):
        library.pthread_mutex_lock(mutex)


def ended(folder: Path, work: Callable[[Callable[[], None]], None]) -> tuple[int, str, float]:
    """Return exit code, stderr and seconds to the end of a forked process that gets SIGTERM when it is ready."""
    ready, told = folder / "ready", folder / "told"
    child = os.fork()
    if child == 0:
        try:
            stopping.ENDING = 0.3
            os.dup2(os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
            sys.stderr = os.fdopen(2, "w", buffering=1)
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            with guarded(130, for_good=True):
                work(ready.touch)
            os._exit(0)
        finally:
            os._exit(9)
    until = time.monotonic() + 60
    while not ready.exists() and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.2)
    os.kill(child, signal.SIGTERM)
    started = time.monotonic()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, told.read_text(), time.monotonic() - started


def test_a_hung_command_ends_with_its_workers_and_says_how_to_go_on(tmp_path: Path) -> None:
    alive, of_worker = os.pipe()  # ends when no process holds it any more

    def work(ready: Callable[[], None]) -> None:
        worker = multiprocessing.get_context("fork").Process(target=hang)
        worker.start()
        set_advice("resume it")
        ready()
        hang()

    code, told, seconds = ended(tmp_path, work)
    assert (code, seconds < 20) == (130, True)
    assert told == (
        "interrupted: the command did not come to an end within 0.3 s of SIGTERM, so it was ended; resume it\n"
    )
    os.close(of_worker)
    assert select.select([alive], [], [], 20)[0]  # a worker that was killed may end a moment after its parent
    assert os.read(alive, 1) == b""
    os.close(alive)


def test_a_last_line_is_not_waited_for_where_nobody_reads(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    if (child := os.fork()) == 0:
        signal.alarm(20)
        sys.stderr = os.fdopen(writer, "w")
        heartbeat = Heartbeat.__new__(Heartbeat)
        heartbeat.lost_message = lambda: "another process is lost"
        heartbeat._ended, heartbeat._alarm = threading.Event(), threading.Event()
        heartbeat._count, heartbeat._silent, heartbeat._neighbours = 0, [], {}
        module.GRACE = 0.0
        heartbeat._alarm.set()
        heartbeat.claim_report = lambda patience: True  # type: ignore[method-assign]
        heartbeat._guard()
        os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == module.GONE
    os.close(reader)
    os.close(writer)


def test_what_is_being_saved_is_saved(tmp_path: Path) -> None:
    def work(ready: Callable[[], None]) -> None:
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        with saving():
            ready()
            time.sleep(0.9)
            (tmp_path / "saved").touch()
        hang()

    code, _, _ = ended(tmp_path, work)
    assert code == 130
    assert (tmp_path / "saved").exists()


def test_one_that_ends_by_itself_is_left_alone_and_a_fork_does_not_speak_for_its_parent(tmp_path: Path) -> None:
    def work(ready: Callable[[], None]) -> None:
        worker = multiprocessing.get_context("fork").Process(target=hang)
        worker.start()
        time.sleep(0.3)
        os.kill(worker.pid or 0, signal.SIGTERM)
        worker.join(0.5)
        worker.kill()
        worker.join()
        try:
            ready()
            time.sleep(60)
        except KeyboardInterrupt:
            return

    assert ended(tmp_path, work)[:2] == (0, "")
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    with guarded(130, for_good=False):
        pass
    assert signal.set_wakeup_fd(before) == before
