"""Worker processes that decode batches straight into memory that they share with this process.

Not torch's DataLoader: its batches lie in /dev/shm, of which a container has 64 MB by default, and it waits for ever
for a batch that found no room there. The memory here belongs to no file system on Linux; each worker has a connection
of its own, so that a killed one leaves no lock held and no half a message in the way of the others.
"""

import mmap
import multiprocessing
import os
import signal
import tempfile
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, cycle
from multiprocessing import reduction
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from eml.errors import DataError
from eml.images.preprocess import Pixels

AHEAD = 2  # batches that each worker has in hand
HELD = 2  # batches that the caller holds: its last one until it has the next
ALIVE = 2.0  # seconds between looks at whether the parent is alive

Key = tuple[int, int, int]
"""(epoch, position in the epoch, row of the table)."""


class WorkerLostError(DataError):
    """A process that loads images was killed, or could not be started; `cause` says how."""

    cause = ""

    @classmethod
    def because(cls, cause: str, workers: int) -> "WorkerLostError":
        """Return the error, with advice for where the number of processes is the parameter `workers`."""
        advice = f"set fewer `workers` than {workers}, or `workers=0` to load them without such processes"
        error = cls(f"{cause}; {advice}", code="worker-died", parameter="workers")
        error.cause = cause
        return error


class _LostError(Exception):
    """A worker was killed, or could not be started; the text says how."""


class Reader(Protocol):
    """Reads images of a size."""

    @property
    def side(self) -> int:
        """Height and width of the images (pixels)."""

    def read(self, keys: Sequence[Key], pixels: Pixels) -> Any:
        """Write the images of the keys into pixels (B, H, W, 3), and return what else there is to tell, or None.

        Raises DataError where an image cannot be read.
        """


class LoadedBatch(NamedTuple):
    """A batch that was read."""

    pixels: Pixels
    """(B, H, W, 3)."""
    keys: Sequence[Key]
    remarks: Any
    """What the reader returned."""


class SharedMemory:
    """Room for some batches, which other processes see too, however they are started."""

    def __init__(self, batches: int, shape: tuple[int, ...]) -> None:
        self.shape, self.stride = shape, int(np.prod(shape))
        self._file = _nameless_file()
        os.ftruncate(self._file, batches * self.stride)
        self._map = mmap.mmap(self._file, batches * self.stride)

    def __reduce__(self) -> tuple[Callable[..., "SharedMemory"], tuple[object, ...]]:
        """Send the file to a process that is not forked."""
        return _received, (reduction.DupFd(self._file), self.shape, len(self._map))

    def batch(self, number: int, count: int) -> Pixels:
        """Return the first images of a batch, (count, H, W, 3)."""
        shape = (count, *self.shape[1:])
        return np.ndarray(shape, np.uint8, self._map, offset=number * self.stride)

    def close_file(self) -> None:
        """Close the file, once all processes have it; the memory stays as long as a batch is in use."""
        os.close(self._file)


def _nameless_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("eml-batches")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _received(file: Any, shape: tuple[int, ...], size: int) -> SharedMemory:
    memory = SharedMemory.__new__(SharedMemory)
    memory.shape, memory.stride, memory._file = shape, int(np.prod(shape)), file.detach()
    memory._map = mmap.mmap(memory._file, size)
    return memory


class Worker:
    """A process that reads batches, and the connection to it; _LostError where it cannot be started."""

    def __init__(self, reader: Reader, memory: SharedMemory, context: BaseContext) -> None:
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(  # type: ignore[attr-defined]
            target=_work, name="loading images", args=(reader, memory, theirs), daemon=True
        )
        try:
            with _stop_signals_held():
                self.process.start()
        except OSError as error:
            self.connection.close()
            raise _LostError(f"a process that loads images cannot be started: {error.strerror or error}") from error
        finally:
            theirs.close()

    def ask(self, batch: int, keys: Sequence[Key]) -> None:
        """Have a batch read."""
        with suppress(BrokenPipeError, ConnectionResetError):  # `answer` tells of a lost worker
            self.connection.send((batch, keys))

    def answer(self) -> Any:
        """Wait until the next batch that was asked for is read, and return what its reader returned.

        Raises:
            _LostError: The worker was killed.
            DataError: An image cannot be read.
        """
        wait([self.connection, self.process.sentinel])
        remarks: Any = None
        try:
            error, remarks = self.connection.recv() if self.connection.poll() else (self._lost(), None)
        except (EOFError, ConnectionResetError):
            error = self._lost()
        if isinstance(error, str):
            raise RuntimeError(f"in a process that loads images:\n{error}")
        if error is not None:
            raise error
        return remarks

    def _lost(self) -> _LostError:
        self.process.join(ALIVE)
        code = self.process.exitcode
        by = f"by {signal.Signals(-code).name}" if code is not None and code < 0 else f"with exit code {code}"
        cause = ", perhaps for lack of memory" if code in (-signal.SIGKILL, -signal.SIGBUS) else ""
        return _LostError(f"a process that loads images was ended {by}{cause}")

    def end(self) -> None:
        """End the process."""
        self.connection.close()
        self.process.kill()  # it holds nothing but what it has read
        self.process.join(ALIVE)


def read_batches(
    reader: Reader, batches: Iterable[Sequence[Key]], workers: int, context: BaseContext | None = None
) -> Iterator[LoadedBatch]:
    """Yield batches in order; the workers take turns.

    The memory of a batch is used for another one when nothing refers to its pixels any more.

    Args:
        reader: Reads the images.
        batches: Keys of batches, of which none is larger than the first.
        workers: Processes, at least 1.
        context: How they are started; None: as is usual on this system.

    Raises:
        WorkerLostError: A worker was killed, or cannot be started.
        DataError: An image cannot be read.
    """
    coming = iter(batches)
    if not (first := next(coming, ())):
        return
    team: list[Worker] = []
    try:
        shape = (len(first), reader.side, reader.side, 3)
        memory = SharedMemory(AHEAD * workers + HELD, shape)
        try:
            for _ in range(workers):
                team.append(Worker(reader, memory, context or multiprocessing.get_context()))
        finally:
            memory.close_file()
        yield from _in_turns(team, memory, chain([first], coming))
    except _LostError as lost:
        raise WorkerLostError.because(str(lost), workers) from lost
    finally:
        for worker in team:
            worker.end()


def _in_turns(team: Sequence[Worker], memory: SharedMemory, coming: Iterator[Sequence[Key]]) -> Iterator[LoadedBatch]:
    free = deque(range(AHEAD * len(team) + HELD))  # places in the memory
    pending: deque[tuple[Worker, int, Sequence[Key]]] = deque()
    turns = cycle(team)

    def ask() -> None:
        while free and len(pending) < AHEAD * len(team) and (keys := next(coming, None)) is not None:
            worker, place = next(turns), free.popleft()
            worker.ask(place, keys)
            pending.append((worker, place, keys))

    ask()
    while pending:
        worker, place, keys = pending.popleft()
        remarks = worker.answer()
        pixels = memory.batch(place, len(keys))
        if free:
            weakref.finalize(pixels, free.append, place).atexit = False
        else:  # the caller keeps many batches
            pixels = pixels.copy()
            free.append(place)
        ask()
        yield LoadedBatch(pixels, keys, remarks)
        del pixels


@contextmanager
def _stop_signals_held() -> Iterator[None]:
    """Delay Ctrl-C and SIGTERM until after the block. Processes started in it never see one: this process ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(reader: Reader, memory: SharedMemory, connection: Connection) -> None:
    """Read the batches that are asked for, until the connection or the parent ends."""
    parent = os.getppid()
    torch.set_num_threads(1)
    while True:
        while not connection.poll(ALIVE):
            if os.getppid() != parent:  # with fork, others hold the other end of the connection too
                return
        try:
            place, keys = connection.recv()
            connection.send(_read(reader, memory.batch(place, len(keys)), keys))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


def _read(reader: Reader, pixels: Pixels, keys: Sequence[Key]) -> tuple[DataError | str | None, Any]:
    """Return the error, or the traceback of a bug, None where all went well; and what the reader returned."""
    try:
        return None, reader.read(keys, pixels)
    except DataError as error:
        return DataError(error.problems), None
    except Exception:
        return traceback.format_exc(), None
