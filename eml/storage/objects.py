"""One object of a remote place: its size and version, its bytes, and a file to seek in."""

import errno
import hashlib
import io
import os
import threading
from dataclasses import replace
from typing import IO, Any, NamedTuple, cast

from eml.storage.file_systems import file_system, location
from eml.storage.object_info import ObjectInfo as ObjectInfo
from eml.storage.object_info import info_of as info_of
from eml.storage.object_ranges import read_range
from eml.storage.remote_path import RemotePath
from eml.storage.retries import with_retries

_BLOCK = 2**18  # bytes of a request of a file that is sought in


def object_info(path: RemotePath) -> ObjectInfo:
    """Return the facts of an object or folder as they are now. Raises OSError, FileNotFoundError for neither."""
    system, place = file_system(path), location(path)
    return info_of(with_retries(lambda: system.info(place), path))


def file_state(path: RemotePath) -> tuple[int, str]:
    """Return the bytes and the version of an object. Raises OSError."""
    info = object_info(path)
    if info.is_folder:
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    return info.bytes, info.token


def read_bytes(path: RemotePath, at_most: int | None = None) -> bytes:
    """Return the bytes of an object, whole: their number is compared with what the place says, and their MD5.

    Args:
        path: The object.
        at_most: Of an object with more bytes, the first ones are read.

    Raises:
        OSError: It cannot be read, after retries; FileNotFoundError where it is not there.
    """
    return read_whole(path, None, at_most).data


class WholeObject(NamedTuple):
    """The bytes of an object.

    Attributes:
        data: The bytes.
        info: The facts of the version that they are of.
        is_proven: Whether the bytes are surely of this version, and not of a later one.
    """

    data: bytes
    info: ObjectInfo
    is_proven: bool


def read_whole(path: RemotePath, info: ObjectInfo | None, at_most: int | None = None) -> WholeObject:
    """Return the bytes of an object, and the facts of the version that they are of.

    Args:
        path: The object.
        info: As a listing has it, which is believed until the bytes do not fit it; None: it is asked for.
        at_most: As for `read_bytes`.

    Returns:
        The bytes and the facts, without an MD5 where it proves nothing. A web server says in its answer of which
        version it is.

    Raises:
        OSError: As `read_bytes` does.
    """
    system, place = file_system(path), location(path)
    known = [] if info is None else [info]

    def whole(facts: ObjectInfo) -> tuple[bytes, ObjectInfo | None]:
        if path.scheme not in ("https", "http"):
            return cast(bytes, system.cat_file(place)), None
        most = facts.bytes + 1 if facts.bytes >= 0 else at_most  # one more, so that a longer answer is seen
        data, answer = system.cat_version(place, most=most)
        return data, info_of(answer)

    def request() -> WholeObject:
        facts = known.pop() if known else info_of(system.info(place))  # as it is now, from the second attempt on
        if facts.is_folder:
            raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
        cut = at_most is not None and facts.bytes > at_most
        data, answer = (system.cat_file(place, start=0, end=at_most), None) if cut else whole(facts)
        expected = at_most if cut and at_most is not None else facts.bytes
        if expected >= 0 and len(data) != expected:
            raise OSError(errno.EIO, f"{len(data):,} bytes were read of {expected:,}", str(path))
        if answer is not None and answer.token and answer.bytes in (-1, len(data)):
            version = replace(answer, bytes=facts.bytes, md5="")
            is_same = facts.is_same_version(version)
            return WholeObject(data, replace(facts, md5="") if is_same else version, is_proven=True)
        if not cut and facts.md5 and not _checksums.agree(path, facts.md5, data):
            raise OSError(errno.EIO, "the bytes that were read are not those of its checksum", str(path))
        facts = facts if _checksums.are_told(path) else replace(facts, md5="")
        return WholeObject(data, facts, facts.md5 != "")

    return with_retries(request, path)


class _Checksums:
    """Which buckets tell MD5 sums: an ETag looks like one also where it is none, as with keys of KMS."""

    def __init__(self) -> None:
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset)
        self._tells: dict[tuple[str, ...], bool] = {}
        self._differing: dict[str, str] = {}

    def _reset(self) -> None:
        self._lock = threading.Lock()

    def are_told(self, path: RemotePath) -> bool:
        """Return whether the bucket tells MD5 sums, as far as is known."""
        return self._tells.get(path.parts[:2]) is True

    def agree(self, path: RemotePath, md5: str, data: bytes) -> bool:
        """Return whether bytes are of an MD5; True also where the bucket has no such sums.

        That is so where an object whose sum differs gives the same bytes twice.
        """
        bucket = path.parts[:2]
        if self._tells.get(bucket) is False:
            return True
        own = hashlib.md5(data, usedforsecurity=False).hexdigest()
        with self._lock:
            if own == md5:
                self._tells[bucket] = True
                self._differing.pop(str(path), None)
                return True
            if self._tells.get(bucket) is None and self._differing.get(str(path)) == own:
                self._tells[bucket] = False
                return True
            self._differing[str(path)] = own
        return False


_checksums = _Checksums()


class _ObjectFile(io.RawIOBase):
    """An object, read in blocks by requests of a range, each of which is repeated when it fails in passing."""

    def __init__(self, path: RemotePath, info: ObjectInfo) -> None:
        self._path, self._info, self._at = path, info, 0
        self._system, self._place = file_system(path), location(path)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._info.bytes}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        end = min(self._at + len(buffer), self._info.bytes)
        if end <= self._at:
            return 0
        begin = self._at

        def request() -> bytes:
            data = cast(bytes, self._system.cat_file(self._place, start=begin, end=end))
            if len(data) != end - begin:
                raise OSError(errno.EIO, f"{len(data):,} bytes were read of {end - begin:,}", str(self._path))
            return data

        if self._path.scheme in ("s3", "https", "http") and self._info.is_exact:  # whose answers say their version
            data = read_range(self._path, self._info, begin, end)
        else:
            data = with_retries(request, self._path)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def open_binary(path: RemotePath) -> IO[bytes]:
    """Return an object as a file that can be sought in; what is read comes by requests of ranges. Raises OSError."""
    info = object_info(path)
    if info.is_folder:
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if info.bytes < 0:  # a server that does not tell the length
        return io.BytesIO(read_bytes(path))
    return cast(IO[bytes], io.BufferedReader(_ObjectFile(path, info), _BLOCK))
