"""The packed files that were used last, with their indexes, so that an image is one read."""

import errno
import os
import threading
from collections import OrderedDict
from functools import lru_cache, partial
from typing import NamedTuple

from eml.images.packed.arrow_file import ArrowFile
from eml.images.packed.contents import PackedFile, UnusableError
from eml.images.packed.parquet_file import ParquetFile
from eml.images.packed.random_access import LocalFile, RandomFile, Section, forget
from eml.images.packed.tar_file import TarFile
from eml.storage import RemotePath, is_url
from eml.storage.listing import known_info
from eml.storage.object_blocks import ObjectBlocks
from eml.storage.objects import ObjectInfo, object_info

_MOST_OPENED = 4_096
_ARROW = (
    "Arrow files are mapped into memory, so they are read from local folders alone: copy the folder here, or have it "
    "as Parquet or tar (eml pack)"
)

LocalState = tuple[int, int, int]
"""Time of the last change (ns), bytes, and number of a file."""


class OpenedFile(NamedTuple):
    """A packed file, and by what it is seen to be another one."""

    file: PackedFile
    state: LocalState | ObjectInfo
    blocks: ObjectBlocks | None
    """The blocks of a remote file; None of a local one."""

    @property
    def version(self) -> int:
        """The time of the last change (ns), of a remote file the number of its version."""
        return self.state.version if isinstance(self.state, ObjectInfo) else self.state[0]


class OpenedFiles:
    """The packed files that were used last, with their indexes; one that was replaced meanwhile is opened anew.

    A local file is looked at for each image. A remote one is not, since that is a request: its size and version are
    what `known_info` says, else they are asked for when it is opened. They are looked at again when a command lists the
    folder or begins to read a table's images (`look_at`), and where an answer is of another version. After such an
    answer no more is read of the file than was kept, until it was looked at again.

    Args:
        most: The number of files.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock, self._locks = threading.Lock(), dict[str, threading.Lock]()
        self._files: OrderedDict[str, OpenedFile] = OrderedDict()

    def is_open(self, path: str) -> bool:
        """Return whether a file was used lately, so that it is one; it may be gone since."""
        return path in self._files

    def get(self, path: str) -> OpenedFile:
        """Return a packed file, opened.

        Raises:
            OSError: It is not there, or its place cannot be asked.
            NotPackedError: It holds no images.
            UnusableError: It cannot be read.
        """
        state = _state(path, self._files.get(path))
        with self._lock:
            opened = self._files.get(path)
            if opened is not None and opened.state == state:
                self._files.move_to_end(path)
                return opened
            own = self._locks.setdefault(path, threading.Lock())
        with own:  # the other threads wait for the one that makes the index
            with self._lock:
                opened = self._files.get(path)
            if opened is not None and opened.state == state:
                return opened
            opened = _open(path, state)
        with self._lock:
            self._files[path] = opened
            self._locks.pop(path, None)
            while len(self._files) > self._most:
                self._files.popitem(last=False)
        return opened


opened_files = OpenedFiles(_MOST_OPENED)


def is_packed_file(path: str) -> bool:
    """Return whether there is a file, given the path of one by its name; an error in asking comes when it is read."""
    if opened_files.is_open(path):
        return True
    if not is_url(path):
        return os.path.isfile(path)  # noqa: PTH113 - a Path for each image is slow
    if (known := known_info(path)) is not None:
        return not known.is_folder
    try:
        return _is_object(path)
    except FileNotFoundError:
        return False
    except OSError:
        return True


@lru_cache(1024)
def _is_object(path: str) -> bool:
    return not object_info(RemotePath(path)).is_folder


def _state(path: str, opened: OpenedFile | None) -> LocalState | ObjectInfo:
    """Return the state of a file as `OpenedFiles` looks at it."""
    if not is_url(path):
        status = os.stat(path)  # noqa: PTH116
        return status.st_mtime_ns, status.st_size, status.st_ino
    if (known := known_info(path)) is not None:
        return known
    if opened is not None and opened.blocks is not None and not opened.blocks.is_replaced:
        return opened.state
    return object_info(RemotePath(path))


def _open(path: str, state: LocalState | ObjectInfo) -> OpenedFile:
    suffix, blocks = path[path.rindex(".") :].lower(), None
    file: RandomFile
    if isinstance(state, ObjectInfo):
        if state.is_folder:
            raise IsADirectoryError(errno.EISDIR, "it is a folder", path)
        if suffix == ".arrow":
            raise UnusableError("unsupported", _ARROW)
        file = blocks = ObjectBlocks(RemotePath(path), state)
    else:
        forget(path)
        file = LocalFile(path, state[1])
    if suffix == ".tar":
        return OpenedFile(TarFile(file), state, blocks)
    if suffix == ".parquet":
        source = partial(str, path) if blocks is None else partial(Section, blocks, 0, blocks.size)
        return OpenedFile(ParquetFile(file, source), state, blocks)
    return OpenedFile(ArrowFile(path), state, blocks)
