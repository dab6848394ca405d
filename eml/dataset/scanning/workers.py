"""Many files → many records: in this process when they are few, else in worker processes, with the same result."""

import multiprocessing
import os
import shlex
import signal
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from ctypes import c_byte
from itertools import islice
from multiprocessing.connection import wait as wait_for
from pathlib import Path

from eml.dataset.scanning.hashing import HashKind
from eml.dataset.scanning.inspect_file import FileRecord, inspect_file
from eml.errors import DataError
from eml.images.packed.members import possible_members
from eml.stopping import signals_held
from eml.storage import RemotePath, is_remote
from eml.storage.file_systems import IN_FLIGHT
from eml.storage.listing import known_info, remember
from eml.storage.objects import ObjectInfo
from eml.threads import cores, in_order, most_workers

CHUNK = 32  # files that a worker takes at a time: a fraction of a second even for large photos
SAMPLE = 64  # files read before deciding whether worker processes would pay
WORTH_WORKERS = 2.0  # seconds of reading left; starting the workers takes about one

Block = tuple[int, list[FileRecord]]
"""The position of a file, and the records of it and the files after it."""


def read_files(
    root: Path, files: Sequence[str], hash_kind: HashKind | None, workers: int | None
) -> Generator[Block, None, None]:
    """Yield the records of all files in blocks, in no fixed order. Close the generator to stop the workers early.

    Args:
        root: The folder of the images.
        files: File names, relative to `root`.
        hash_kind: The perceptual hash to compute, None for none.
        workers: Processes, of which at most `most_workers()` are started. 1 reads in this process; None takes one per
            core if there is enough to do.

    Raises:
        DataError: A worker process died.
    """
    first = 0
    if workers is None:
        start = time.monotonic()
        first = min(SAMPLE, len(files))
        yield from _read_here(root, files, range(first), hash_kind)
        seconds = (time.monotonic() - start) / SAMPLE * (len(files) - first)
        workers = cores() if seconds > WORTH_WORKERS else 1
    rest = range(first, len(files))
    if workers > 1 and rest:
        yield from _read_in_processes(
            root, files, rest, hash_kind, min(workers, -(-len(rest) // CHUNK), most_workers())
        )
    else:
        yield from _read_here(root, files, rest, hash_kind)


def _read_here(root: Path, files: Sequence[str], positions: range, hash_kind: HashKind | None) -> Iterator[Block]:
    if is_remote(root):  # where waiting takes longer than decoding
        records = in_order(lambda position: inspect_file(root, files[position], hash_kind), positions, IN_FLIGHT)
        for position, record in zip(positions, records, strict=True):
            yield position, [record]
        return
    for position in positions:
        yield position, [inspect_file(root, files[position], hash_kind)]


def _read_in_processes(
    root: Path, files: Sequence[str], positions: range, hash_kind: HashKind | None, workers: int
) -> Iterator[Block]:
    # Spawned, not forked: the caller may have threads (a progress bar, torch) whose locks a fork would copy.
    context = multiprocessing.get_context("spawn")
    with _failures_to_start(root):
        stop = context.RawValue("b", 0)  # without a lock, which a killed worker might hold
        pool = ProcessPoolExecutor(workers, context, initializer=_start, initargs=(root, hash_kind, stop))
    chunks = (positions[first : first + CHUNK] for first in range(0, len(positions), CHUNK))
    pending: dict[Future[list[FileRecord]], range] = {}
    nothing_done = True
    try:
        with _failures_to_start(root):
            for chunk in islice(chunks, 2 * workers):
                pending[_submit(pool, root, files, chunk)] = chunk
        while pending:
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                records = future.result()
                yield pending.pop(future)[0], records
                nothing_done = False
                for chunk in islice(chunks, 1):
                    pending[_submit(pool, root, files, chunk)] = chunk
    except BrokenProcessPool as error:
        unread = [files[chunk[0]] for chunk in pending.values()], [files[chunk[-1]] for chunk in pending.values()]
        text = _died(root, min(unread[0]), max(unread[1]), nothing_done=nothing_done)
        raise DataError(text, code="worker-died", parameter="workers") from error
    finally:
        stop.value = 1
        pool.shutdown(cancel_futures=True)


@contextmanager
def _failures_to_start(root: Path) -> Iterator[None]:
    """Raise DataError where the system refuses processes, or the semaphores in /dev/shm that they need."""
    try:
        yield
    except OSError as error:
        text = f"{root}: worker processes cannot be started: {error.strerror or error}; set `workers=1`"
        raise DataError(text, code="worker-died", parameter="workers") from error


def _died(root: Path, first: str, last: str, *, nothing_done: bool) -> str:
    if nothing_done:
        return (
            f"{root}: the worker processes do not start, or die at once. In a script of your own, call the scan under "
            "if __name__ == '__main__', or set `workers=1`"
        )
    return (
        f"{root}: a worker process was killed, perhaps for lack of memory, while reading files from {first} to {last}. "
        f"No table was written. Run: eml scan {shlex.quote(str(root))} --workers 1"
    )


def _submit(pool: ProcessPoolExecutor, root: Path, files: Sequence[str], chunk: range) -> Future[list[FileRecord]]:
    names = files[chunk.start : chunk.stop]
    known = {}
    if isinstance(root, RemotePath):
        objects = {own for name in names for own in (name, *(member.file for member in possible_members(name)))}
        known = {own: info for own in objects if (info := known_info(root / own)) is not None}
    with signals_held(signal.SIGINT):
        return pool.submit(_inspect_chunk, names, known)


# In the worker processes

_root: Path
_hash_kind: HashKind | None
_stop: c_byte


def _start(root: Path, hash_kind: HashKind | None, stop: c_byte) -> None:
    global _root, _hash_kind, _stop
    _root, _hash_kind, _stop = root, hash_kind, stop
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent is killed; otherwise it would wait for work forever."""
    if parent := multiprocessing.parent_process():
        wait_for([parent.sentinel])
        os._exit(1)


def _inspect_chunk(files: Sequence[str], known: dict[str, ObjectInfo]) -> list[FileRecord]:
    if isinstance(_root, RemotePath):
        remember(_root, known)
        names = (name for name in files if not _stop.value)
        return [*in_order(lambda name: inspect_file(_root, name, _hash_kind), names, IN_FLIGHT)]
    return [inspect_file(_root, name, _hash_kind) for name in files if not _stop.value]
