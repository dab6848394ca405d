"""Paths that lead into packed files: `train.tar/CLASS/name.jpg` is the image of this key in train.tar."""

import errno
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

from eml.files import bytes_digest
from eml.images.identify import ImageError, Reason
from eml.images.packed.arrow_file import ArrowFile
from eml.images.packed.contents import Contents, NotPackedError, PackedFile, UnusableError
from eml.images.packed.parquet_file import ParquetFile
from eml.images.packed.random_access import LocalFile, forget
from eml.images.packed.tar_file import TarFile
from eml.storage import is_remote

PACKED_SUFFIXES = (".tar", ".parquet", ".arrow")
"""The suffixes of files that may have images inside, in lower case."""
_MOST_OPENED = 4_096
_NO_IMAGE = "the packed file has no image of this name"
_REASONS: dict[str, Reason] = {"truncated": "truncated", "too_large": "too_large", "unsupported": "unsupported"}
_into_packed = re.compile(r"\.(?:tar|parquet|arrow)(?=[/\\])", re.IGNORECASE).finditer


class Member(NamedTuple):
    """An image inside a packed file."""

    file: str
    """The packed file."""
    key: str


class MemberState(NamedTuple):
    """The facts by which a changed image inside a packed file is noticed."""

    size: int | None
    """Bytes; None where only reading would tell."""
    mtime: int
    """Time of the last change of the packed file (ns)."""


def split_member(path: Path | str) -> Member | None:
    """Return the packed file and the key that a path leads to; None for the path of a file of its own."""
    if is_remote(path):
        return None
    text = os.fspath(path)
    for match in _into_packed(text):
        file = text[: match.end()]
        if _opened.is_open(file) or os.path.isfile(file):  # noqa: PTH113 - a Path for each image is slow
            return Member(file, text[match.end() + 1 :].replace(os.sep, "/"))
    return None


def is_member(path: Path | str) -> bool:
    """Return whether a path leads to an image that is there, in a packed file."""
    try:
        return member_state(path) is not None
    except (OSError, ValueError):
        return False


def member_state(path: Path | str) -> MemberState | None:
    """Return size and time of an image inside a packed file; None for another path.

    Raises:
        OSError: The packed file cannot be read, or has no such image.
    """
    if (member := split_member(path)) is None:
        return None
    try:
        opened = _opened.get(member.file)
        return MemberState(opened.file.size(member.key), opened.state[0])
    except KeyError as error:
        raise FileNotFoundError(member.key) from error
    except (UnusableError, NotPackedError) as error:
        raise OSError(str(error)) from error


def read_member(member: Member, path: Path | str) -> bytes:
    """Return the bytes of an image. Raises ImageError, which names `path`, where it cannot be read."""
    with member_problems(path):
        return _opened.get(member.file).file.read(member.key)


def packed_file(member: Member) -> PackedFile:
    """Return the file that an image is in. Raises what `member_problems` turns into ImageErrors."""
    return _opened.get(member.file).file


def open_member(member: Member, path: Path | str) -> IO[bytes]:
    """Return an image as a file, of which no more is read than is asked for. Raises ImageError as `read_member`."""
    with member_problems(path):
        return _opened.get(member.file).file.open(member.key)


def member_digest(path: Path | str) -> str | None:
    """Return blake2b-128 of the bytes of an image inside a packed file; None for another path. Raises OSError."""
    if (member := split_member(path)) is None:
        return None
    try:
        return bytes_digest(read_member(member, path))
    except ImageError as error:
        raise OSError(errno.EIO, error.detail) from error


def contents_of(file: Path) -> Contents:
    """Return what a packed file holds.

    Raises:
        NotPackedError: It holds no images.
        UnusableError: It cannot be read.
    """
    try:
        return _opened.get(str(file)).file.contents()
    except OSError as error:
        raise UnusableError("unreadable", error.strerror or str(error)) from error


@contextmanager
def member_problems(path: Path | str) -> Iterator[None]:
    """Turn what goes wrong in a packed file into ImageErrors of a path."""
    try:
        yield
    except (KeyError, FileNotFoundError) as error:
        is_key = isinstance(error, KeyError)
        raise ImageError(path, "missing", _NO_IMAGE if is_key else "no such file") from error
    except EOFError as error:
        raise ImageError(path, "truncated", str(error)) from error
    except UnusableError as error:
        raise ImageError(path, _REASONS.get(error.reason, "unreadable"), error.detail) from error
    except NotPackedError as error:
        raise ImageError(path, "missing", "the file that it should be in holds no images") from error
    except (OSError, ValueError) as error:
        detail = (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())[:200]
        raise ImageError(path, "unreadable", detail) from error


class _Opened(NamedTuple):
    file: PackedFile
    state: tuple[int, int, int]
    """Time of the last change (ns), bytes, and number of the file."""


class _OpenedFiles:
    """The packed files that were used last, with their indexes; one that was replaced meanwhile is opened anew."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock, self._locks = threading.Lock(), dict[str, threading.Lock]()
        self._files: OrderedDict[str, _Opened] = OrderedDict()

    def is_open(self, path: str) -> bool:
        """Return whether a file was used lately, so that it is one; it may be gone since."""
        return path in self._files

    def get(self, path: str) -> _Opened:
        status = os.stat(path)  # noqa: PTH116
        state = (status.st_mtime_ns, status.st_size, status.st_ino)
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
            forget(path)
            opened = _Opened(_open(path, status.st_size), state)
        with self._lock:
            self._files[path] = opened
            self._locks.pop(path, None)
            while len(self._files) > self._most:
                self._files.popitem(last=False)
        return opened


_opened = _OpenedFiles(_MOST_OPENED)


def _open(path: str, size: int) -> PackedFile:
    suffix = path[path.rindex(".") :].lower()
    if suffix == ".tar":
        return TarFile(LocalFile(path, size))
    if suffix == ".parquet":
        return ParquetFile(LocalFile(path, size), partial(str, path))
    return ArrowFile(path)
