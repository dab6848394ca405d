"""Many files → many rows: in this process when they are few, else in worker processes, with the same result."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Any

from eml.dataset.hashing import HashKind
from eml.dataset.inspection import Problem, Row, inspect
from eml.errors import DataError

CHUNK = 32  # files that a worker takes at a time: a fraction of a second even for large photos
SAMPLE = 64  # files read before deciding whether worker processes would pay
WORTH_WORKERS = 2.0  # seconds of reading left; starting the workers takes about one

Advance = Callable[[int], None]


def read_files(
    root: Path, files: Sequence[str], hash_kind: HashKind | None, workers: int | None, advance: Advance
) -> list[Row | Problem]:
    """A row or a problem for each file, in no fixed order. advance: told how many files are newly done.

    workers: processes; 1 reads in this one; None takes one per core if there is enough to do.
    Raises DataError when a worker process dies.
    """
    found: list[Row | Problem] = []
    if workers is None:
        start = time.monotonic()
        _read_here(root, files[:SAMPLE], hash_kind, found, advance)
        files = files[SAMPLE:]
        seconds = (time.monotonic() - start) / SAMPLE * len(files)
        workers = _cores() if seconds > WORTH_WORKERS else 1
    if workers > 1 and files:
        _read_in_processes(root, files, hash_kind, found, advance, min(workers, -(-len(files) // CHUNK)))
    else:
        _read_here(root, files, hash_kind, found, advance)
    return found


def _read_here(
    root: Path, files: Sequence[str], hash_kind: HashKind | None, found: list[Row | Problem], advance: Advance
) -> None:
    for name in files:
        found.append(inspect(root, name, hash_kind))
        advance(1)


def _read_in_processes(
    root: Path,
    files: Sequence[str],
    hash_kind: HashKind | None,
    found: list[Row | Problem],
    advance: Advance,
    workers: int,
) -> None:
    # Spawned, not forked: the caller may have threads (a progress bar, torch) whose locks a fork would copy.
    context = multiprocessing.get_context("spawn")
    stop = context.RawValue("b", 0)  # without a lock, which a killed worker might hold
    pool = ProcessPoolExecutor(workers, context, initializer=_start, initargs=(root, hash_kind, stop))
    chunks = (files[first : first + CHUNK] for first in range(0, len(files), CHUNK))
    pending: dict[Future[list[Row | Problem]], Sequence[str]] = {}
    before = len(found)
    try:
        for chunk in islice(chunks, 2 * workers):
            pending[_submit(pool, chunk)] = chunk
        while pending:
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                found += (some := future.result())
                del pending[future]
                advance(len(some))
                for chunk in islice(chunks, 1):
                    pending[_submit(pool, chunk)] = chunk
    except BrokenProcessPool as error:
        raise DataError(_died(root, list(pending.values()), nothing_done=len(found) == before)) from error
    finally:
        stop.value = 1
        pool.shutdown(cancel_futures=True)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _died(root: Path, unread: list[Sequence[str]], *, nothing_done: bool) -> str:
    if nothing_done:
        return (
            f"{root}: the processes that read pictures cannot start, or die at once. In a script of your own, call "
            "scan_folder under `if __name__ == '__main__':`, or with workers=1"
        )
    return (
        f"{root}: a process that reads pictures was killed, perhaps for want of memory, while reading files from "
        f"{unread[0][0]} to {unread[-1][-1]}. Nothing was written. Run: eml scan {root} --workers 1"
    )


def _submit(pool: ProcessPoolExecutor, chunk: Sequence[str]) -> Future[list[Row | Problem]]:
    with _interrupts_held():
        return pool.submit(_inspect_chunk, chunk)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits until after the block; processes started in it never see one: it is this process that stops them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# In the worker processes

_root: Path
_hash_kind: HashKind | None
_stop: Any


def _start(root: Path, hash_kind: HashKind | None, stop: Any) -> None:
    global _root, _hash_kind, _stop
    _root, _hash_kind, _stop = root, hash_kind, stop
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Without this, workers of a killed process would wait for work for ever."""
    if parent := multiprocessing.parent_process():
        wait_for([parent.sentinel])
        os._exit(1)


def _inspect_chunk(files: Sequence[str]) -> list[Row | Problem]:
    return [inspect(_root, name, _hash_kind) for name in files if not _stop.value]
