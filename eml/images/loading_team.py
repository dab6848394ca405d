"""A team of processes that load images, for one reading or for all of a run.

Starting a process takes seconds where it is not forked, so a run keeps its team through epochs and validations
(`kept_workers`). What is read is a function of the reader and the keys, so it makes no difference to it.
"""

import hashlib
import math
import multiprocessing
import os
import pickle
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from itertools import chain, cycle
from multiprocessing.context import BaseContext
from multiprocessing.util import Finalize

from eml.errors import DataError
from eml.images.image_size import HeightWidth
from eml.images.loading_workers import Key, LoadedBatch, LostError, Reader, SharedMemory, Worker, WorkerLostError

AHEAD = 2  # batches that each worker has in hand
HELD = 2  # batches that the caller holds: its last one until it has the next


class LoadingTeam:
    """Processes that read batches into memory that they share with this one; started when they are first needed.

    Args:
        context: How the processes are started; None: as is usual on this system.
    """

    def __init__(self, context: BaseContext | None = None) -> None:
        self.context = context or multiprocessing.get_context()
        self._is_busy, self._pid = False, os.getpid()
        self.workers: list[Worker] = []
        self._most = self._size = 0  # workers, and bytes of a batch, of the next memory
        self._room = 0  # workers that the present memory has room for
        self._memory: SharedMemory | None = None
        self._free: list[int] = []  # places in the memory; the last one is used next, so that few are touched
        self._pending: deque[tuple[Worker, int, Sequence[Key]]] = deque()
        self._reader: Reader | None = None  # of the last reading, and its number
        self._number = self._count = 0
        self._numbers: dict[bytes, int] = {}  # of readers by the digest of their pickle
        # Before multiprocessing ends its daemons at exit by SIGTERM, which these do not take.
        Finalize(self, _end, args=(self.workers,), exitpriority=10)

    def is_free(self) -> bool:
        """Return whether a reading can begin: none goes on, and this process, not a fork of it, has the team."""
        return not self._is_busy and self._pid == os.getpid()

    def reserve(self, workers: int, size: int) -> None:
        """Make room for so many workers and batches of so many bytes, when processes are started the next time."""
        self._most, self._size = max(self._most, workers), max(self._size, size)

    def read(self, reader: Reader, batches: Iterable[Sequence[Key]], workers: int) -> Iterator[LoadedBatch]:
        """Yield batches in order, as `read_batches`; one reading at a time."""
        coming = iter(batches)
        if not (first := next(coming, ())):
            return
        self._is_busy = True
        try:
            team = self._prepare(reader, len(first), workers)
            yield from self._in_turns(team, reader.shape, chain([first], coming))
        except (GeneratorExit, DataError):  # what was asked for is read and dropped when the next reading begins
            raise
        except LostError as lost:
            self.end()
            raise WorkerLostError.because(str(lost), workers) from lost
        except BaseException:  # perhaps in the middle of an answer
            self.end()
            raise
        finally:
            self._is_busy = False

    def end(self) -> None:
        """End the processes; a further reading starts others."""
        _end(self.workers)
        if self._memory is not None:
            self._memory.close_file()
        self._memory, self._reader = None, None
        self._pending.clear()

    def _prepare(self, reader: Reader, batch_size: int, workers: int) -> list[Worker]:
        """Return the workers of a reading, which have its reader."""
        size = batch_size * math.prod(reader.shape) * 3
        if not (self._is_ready(size, workers) and self._give(reader, self.workers[:workers])):
            self._begin(reader, size, workers)
        assert self._memory is not None
        while len(self.workers) < workers:
            self.workers.append(Worker(self._number, reader, self._memory, self.context))
        return self.workers[:workers]

    def _is_ready(self, size: int, workers: int) -> bool:
        """Return whether the processes can go on: none was lost, and there is room for a batch of so many bytes."""
        try:
            self._drop_pending()
        except LostError:  # with nothing that is still wanted
            return False
        alive = all(worker.process.is_alive() for worker in self.workers)
        return alive and self._memory is not None and size <= self._memory.size and workers <= self._room

    def _begin(self, reader: Reader, size: int, workers: int) -> None:
        """Make the memory anew; the processes start with the reader, which need not be pickled for a fork."""
        self.end()
        self.reserve(workers, size)
        self._room = self._most
        places = AHEAD * self._room + HELD
        self._memory, self._free = SharedMemory(places, self._size), list(range(places))
        self._number, self._reader, self._count = self._count, reader, self._count + 1

    def _give(self, reader: Reader, workers: Sequence[Worker]) -> bool:
        """Give the reader to the workers that do not have it; return false if it cannot be pickled."""
        is_new = reader is not self._reader
        if not is_new and all(self._number in worker.readers for worker in workers):
            return True
        try:
            pickled = pickle.dumps(reader, pickle.HIGHEST_PROTOCOL)
        except Exception:  # of any type; processes that are forked inherit it
            return False
        if is_new:
            digest = hashlib.sha256(pickled).digest()
            if digest not in self._numbers:
                self._numbers[digest], self._count = self._count, self._count + 1
            self._number, self._reader = self._numbers[digest], reader
        for worker in workers:
            if self._number not in worker.readers:
                worker.give(self._number, pickled)
        return True

    def _drop_pending(self) -> None:
        """Wait for the batches that the last reading asked for and left."""
        while self._pending:
            worker, place, _ = self._pending.popleft()
            with suppress(DataError, RuntimeError):
                worker.answer()
            self._free.append(place)

    def _in_turns(
        self, team: Sequence[Worker], shape: HeightWidth, coming: Iterator[Sequence[Key]]
    ) -> Iterator[LoadedBatch]:
        memory, free, pending, turns = self._memory, self._free, self._pending, cycle(team)
        assert memory is not None

        def ask() -> None:
            while free and len(pending) < AHEAD * len(team) and (keys := next(coming, None)) is not None:
                worker, place = next(turns), free.pop()
                pending.append((worker, place, keys))
                worker.ask(self._number, place, keys)

        ask()
        while pending:
            worker, place, keys = pending.popleft()
            try:
                remarks = worker.answer()
            except DataError:
                free.append(place)
                raise
            pixels = memory.batch(place, (len(keys), *shape, 3))
            if free:
                weakref.finalize(pixels, free.append, place).atexit = False
            else:  # the caller keeps many batches
                pixels = pixels.copy()
                free.append(place)
            ask()
            yield LoadedBatch(pixels, keys, remarks)
            del pixels


def _end(workers: list[Worker]) -> None:
    while workers:
        workers.pop().end()


_kept: ContextVar[LoadingTeam | None] = ContextVar("kept", default=None)


@contextmanager
def kept_workers(workers: int = 0, size: int = 0) -> Iterator[None]:
    """Let all readings in the block share processes, which the first of them starts and the end of the block ends.

    It holds in this thread. A reading that begins while another goes on has processes of its own. In another such
    block it only makes room.

    Args:
        workers: Most processes that a reading will ask for, if it is known.
        size: Of its largest batch (bytes), if it is known.
    """
    if (outer := _kept.get()) is not None:
        outer.reserve(workers, size)
        yield
        return
    team = LoadingTeam()
    team.reserve(workers, size)
    token = _kept.set(team)
    try:
        yield
    finally:
        _kept.reset(token)
        team.end()


def read_batches(
    reader: Reader, batches: Iterable[Sequence[Key]], workers: int, context: BaseContext | None = None
) -> Iterator[LoadedBatch]:
    """Yield batches in order; the workers take turns.

    The memory of a batch is used for another one when nothing refers to its pixels any more.

    Args:
        reader: Reads the images.
        batches: Keys of batches, of which none is larger than the first.
        workers: Processes, at least 1; those of `kept_workers` where they are free.
        context: How they are started; None: as is usual on this system.

    Raises:
        WorkerLostError: A worker was killed, or cannot be started.
        DataError: An image cannot be read.
    """
    kept = _kept.get()
    if kept is not None and kept.is_free() and context is None:
        yield from kept.read(reader, batches, workers)
        return
    team = LoadingTeam(context)
    try:
        yield from team.read(reader, batches, workers)
    finally:
        team.end()
