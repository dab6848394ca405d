"""Worker processes that decode batches straight into memory that they share with this process.

Not torch's DataLoader: its batches lie in /dev/shm, of which a container has 64 MB by default, and it waits for ever
for a batch that found no room there. The memory here belongs to no file system on Linux; each worker has a connection
of its own, so that a killed one leaves no lock held and no half a message in the way of the others.
"""

import mmap
import os
import pickle
import signal
import sys
import tempfile
import traceback
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import reduction
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch

from eml.config.plugins import PluginsInChild
from eml.errors import DataError
from eml.images.image_size import HeightWidth
from eml.images.preprocess import Pixels
from eml.stopping import signals_held

ALIVE = 2.0  # seconds between looks at whether the parent is alive
READERS = 8  # that a process keeps, of the training images and of validation sets

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


class LostError(Exception):
    """A worker was killed, or could not be started; the text says how."""


class Reader(Protocol):
    """Reads images of a size."""

    @property
    def shape(self) -> HeightWidth:
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
    """Places for batches, which other processes see too, however they are started.

    Args:
        places: Batches that it holds at once.
        size: Of a place (bytes).
    """

    def __init__(self, places: int, size: int) -> None:
        self.size = size
        self._file, self._name = -1, ""
        if sys.platform == "win32":  # memory has names there, and a file is not sent to another process
            self._name = f"eml-batches-{uuid.uuid4().hex}"
            self._map = _named_memory(self._name, places * size)
            return
        self._file = _nameless_file()
        os.ftruncate(self._file, places * size)
        self._map = mmap.mmap(self._file, places * size)

    def __reduce__(self) -> tuple[Callable[..., "SharedMemory"], tuple[object, ...]]:
        """Send the file, or the name, to a process that is not forked."""
        file = None if self._name else reduction.DupFd(self._file)
        return _received, (file, self._name, self.size, len(self._map))

    def batch(self, place: int, shape: tuple[int, ...]) -> Pixels:
        """Return the batch at a place, (B, H, W, 3)."""
        return np.ndarray(shape, np.uint8, self._map, offset=place * self.size)

    def close_file(self) -> None:
        """Close the file, once no more processes are started; the memory stays as long as a batch is in use."""
        if self._file >= 0:
            os.close(self._file)


def _named_memory(name: str, size: int) -> mmap.mmap:
    """Return memory that has a name as long as a process uses it, new or of another process. Windows only."""
    return mmap.mmap(-1, size, tagname=name)  # type: ignore[call-arg, unused-ignore]


def _nameless_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("eml-batches")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _received(file: Any, name: str, size: int, whole: int) -> SharedMemory:
    memory = SharedMemory.__new__(SharedMemory)
    memory.size, memory._file, memory._name = size, -1 if file is None else file.detach(), name
    memory._map = _named_memory(name, whole) if name else mmap.mmap(memory._file, whole)
    return memory


class Worker:
    """A process that reads batches, and the connection to it; LostError where it cannot be started.

    Args:
        number: Of the reader that it begins with.
        reader: The reader of that number; others are sent with `give`.
        memory: Where batches are read into.
        context: How the process is started.
    """

    def __init__(self, number: int, reader: Reader, memory: SharedMemory, context: BaseContext) -> None:
        self.readers: dict[int, None] = {number: None}  # numbers of those that the process has
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(  # type: ignore[attr-defined]
            target=_work, name="loading images", args=(PluginsInChild(), number, reader, memory, theirs), daemon=True
        )
        try:
            with signals_held(signal.SIGINT, signal.SIGTERM):
                self.process.start()
        except OSError as error:
            self.connection.close()
            raise LostError(f"a process that loads images cannot be started: {error.strerror or error}") from error
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            self.connection.close()
            raise LostError(f"what reads the images cannot be sent to the processes that load them: {error}") from error
        finally:
            theirs.close()

    def give(self, number: int, pickled: bytes) -> None:
        """Send another reader, pickled."""
        _remember(self.readers, number, None)
        self._send((number, pickled))

    def ask(self, number: int, place: int, keys: Sequence[Key]) -> None:
        """Have a batch read by the reader of a number."""
        self._send((number, place, keys))

    def _send(self, message: tuple[object, ...]) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # `answer` tells of a lost worker
            self.connection.send(message)

    def answer(self) -> Any:
        """Wait until the next batch that was asked for is read, and return what its reader returned.

        Raises:
            LostError: The worker was killed.
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

    def _lost(self) -> LostError:
        self.process.join(ALIVE)
        code = self.process.exitcode
        name = signal.Signals(-code).name if code is not None and code < 0 else ""
        by = f"by {name}" if name else f"with exit code {code}"
        cause = ", perhaps for lack of memory" if name in ("SIGKILL", "SIGBUS") else ""
        return LostError(f"a process that loads images was ended {by}{cause}")

    def end(self) -> None:
        """End the process."""
        self.connection.close()
        self.process.kill()  # it holds nothing but what it has read
        self.process.join(ALIVE)


def _work(plugins: PluginsInChild, number: int, reader: Reader, memory: SharedMemory, connection: Connection) -> None:
    """Read the batches that are asked for, until the connection or the parent ends.

    plugins: Unpickled before the reader, which may be of their classes.
    """
    parent = os.getppid()
    torch.set_num_threads(1)
    readers: dict[int, Reader | bytes] = {number: reader}
    while True:
        while not connection.poll(ALIVE):
            if os.getppid() != parent:  # with fork, others hold the other end of the connection too
                return
        try:
            number, *message = connection.recv()
            if len(message) == 1:
                _remember(readers, number, message[0])
            else:
                connection.send(_read_with(readers, number, memory, *message))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


Kept = TypeVar("Kept")


def _remember(readers: dict[int, Kept], number: int, reader: Kept) -> None:
    """Keep a reader, and drop the oldest of too many: in the process and in the parent's list of what it has."""
    readers[number] = reader
    while len(readers) > READERS:
        del readers[next(iter(readers))]


def _read_with(
    readers: dict[int, Reader | bytes], number: int, memory: SharedMemory, place: int, keys: Sequence[Key]
) -> tuple[DataError | str | None, Any]:
    """Return what `_read` does with the reader of a number, which is unpickled when it is first used."""
    reader = readers[number]
    try:
        if isinstance(reader, bytes):
            reader = readers[number] = pickle.loads(reader)
        pixels = memory.batch(place, (len(keys), *reader.shape, 3))
    except Exception:
        return traceback.format_exc(), None
    return _read(reader, pixels, keys)


def _read(reader: Reader, pixels: Pixels, keys: Sequence[Key]) -> tuple[DataError | str | None, Any]:
    """Return the error, or the traceback of a bug, None where all went well; and what the reader returned."""
    try:
        return None, reader.read(keys, pixels)
    except DataError as error:
        return DataError(error.problems), None
    except Exception:
        return traceback.format_exc(), None
