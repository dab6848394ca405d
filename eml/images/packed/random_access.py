"""Files that are read at any place, by several threads at once, and of which few are open."""

import io
import os
import threading
from collections import OrderedDict
from typing import Protocol

MOST_OPEN = 64
"""Files that a process keeps open; a system allows some 1,024."""


class RandomFile(Protocol):
    """A file that is read at any place."""

    size: int
    """Bytes."""

    def read(self, offset: int, count: int) -> bytes:
        """Return the bytes from a place on, fewer only where the file ends. Raises OSError."""

    def recall(self, name: str) -> bytes | None:
        """Return what `keep` kept of the file as it is, by this process or another one; None for nothing."""

    def keep(self, name: str, data: bytes) -> None:
        """Keep what was found out about the file, where finding it again takes longer than reading a file."""


class LocalFile:
    """A file of this machine, opened when it is needed: a read is one call of the system.

    Args:
        path: The file.
        size: Its bytes.
    """

    def __init__(self, path: str, size: int) -> None:
        self.path, self.size = path, size

    def read(self, offset: int, count: int) -> bytes:
        """Implement RandomFile."""
        file = _open_files.get(self.path)
        data = file.read(offset, count)
        while len(data) < count and (more := file.read(offset + len(data), count - len(data))):
            data += more  # a system gives at most 2 GiB at once
        return data

    def recall(self, name: str) -> bytes | None:
        """Return None: a local file is quickly looked through."""
        return None

    def keep(self, name: str, data: bytes) -> None:
        """Keep nothing."""


class _Descriptor:
    """An open file, which is closed when nobody holds it any more."""

    def __init__(self, path: str) -> None:
        self.number = -1
        self.number = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
        self._lock = threading.Lock()

    def __del__(self) -> None:
        if self.number >= 0:
            os.close(self.number)

    def read(self, offset: int, count: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self.number, count, offset)
        with self._lock:
            os.lseek(self.number, offset, os.SEEK_SET)
            return os.read(self.number, count)


class _OpenFiles:
    """The files that were read last. One that leaves is closed when the last thread that reads it is done."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock, self._files = threading.Lock(), OrderedDict[str, _Descriptor]()

    def get(self, path: str) -> _Descriptor:
        with self._lock:
            file = self._files.get(path)
            if file is None:
                file = self._files[path] = _Descriptor(path)
                while len(self._files) > self._most:
                    self._files.popitem(last=False)
            self._files.move_to_end(path)
            return file

    def forget(self, path: str) -> None:
        with self._lock:
            self._files.pop(path, None)


_open_files = _OpenFiles(MOST_OPEN)


def forget(path: str) -> None:
    """Open a file anew when it is read again, since another one has its name now."""
    _open_files.forget(path)


class Section(io.RawIOBase):
    """A part of a file as a file of its own, which reads no more than is asked for.

    Args:
        file: The file.
        offset: Where the part begins.
        size: Its bytes.
    """

    def __init__(self, file: RandomFile, offset: int, size: int) -> None:
        super().__init__()
        self._file, self._offset, self._size, self._place = file, offset, size, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a place in the part and return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def tell(self) -> int:
        """Return the place in the part."""
        return self._place

    def readinto(self, buffer: object) -> int:
        """Read up to the buffer's length and return the number of bytes."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        count = max(0, min(len(view), self._size - self._place))
        data = self._file.read(self._offset + self._place, count) if count else b""
        view[: len(data)] = data
        self._place += len(data)
        return len(data)
