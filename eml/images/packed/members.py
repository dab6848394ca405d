"""Paths that lead into packed files: `train.tar/CLASS/name.jpg` is the image of this key in train.tar."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, NamedTuple

from eml.files import bytes_digest
from eml.images.identify import ImageError, Reason
from eml.images.packed.contents import Contents, NotPackedError, PackedFile, UnusableError
from eml.images.packed.opened_files import is_packed_file, opened_files
from eml.storage import RemotePath, is_url
from eml.storage.objects import ObjectInfo

PACKED_SUFFIXES = (".tar", ".parquet", ".arrow")
"""The suffixes of files that may have images inside, in lower case."""
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
    """Time of the last change of the packed file (ns); of a remote one the number of its version."""


def split_member(path: Path | str) -> Member | None:
    """Return the packed file and the key that a path leads to; None for the path of a file of its own.

    Of a remote path a request is made only where `known_info` does not say whether the packed file is one, and none
    for a path without such a name in it.
    """
    remote = is_url(path)
    text = str(path) if remote else os.fspath(path)
    for file, key in possible_members(text):
        if is_packed_file(file):
            return Member(file, key if remote else key.replace(os.sep, "/"))
    return None


def possible_members(text: str) -> Iterator[Member]:
    """Yield the files and keys that a path would lead to, if what has the name of a packed file is one."""
    for match in _into_packed(text):
        yield Member(text[: match.end()], text[match.end() + 1 :])


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
        opened = opened_files.get(member.file)
        return MemberState(opened.file.size(member.key), opened.version)
    except KeyError as error:
        raise FileNotFoundError(member.key) from error
    except (UnusableError, NotPackedError) as error:
        raise OSError(str(error)) from error


def member_info(path: RemotePath) -> ObjectInfo | None:
    """Return the facts of an image inside a remote packed file: its version, and −1 for bytes; None for another path.

    Raises:
        OSError: The packed file cannot be read, or has no such image.
    """
    if (member := split_member(path)) is None:
        return None
    try:
        opened = opened_files.get(member.file)
        if opened.file.has(member.key):
            assert isinstance(opened.state, ObjectInfo)
            return replace(opened.state, bytes=-1, md5="")
    except (UnusableError, NotPackedError) as error:
        raise OSError(str(error)) from error
    raise FileNotFoundError(errno.ENOENT, _NO_IMAGE, str(path))


def read_member(member: Member, path: Path | str) -> bytes:
    """Return the bytes of an image. Raises ImageError, which names `path`, where it cannot be read."""
    with member_problems(path):
        return opened_files.get(member.file).file.read(member.key)


def packed_file(member: Member) -> PackedFile:
    """Return the file that an image is in. Raises what `member_problems` turns into ImageErrors."""
    return opened_files.get(member.file).file


def open_member(member: Member, path: Path | str) -> IO[bytes]:
    """Return an image as a file, of which no more is read than is asked for. Raises ImageError as `read_member`."""
    with member_problems(path):
        return opened_files.get(member.file).file.open(member.key)


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
        return opened_files.get(str(file)).file.contents()
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
