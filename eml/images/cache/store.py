"""A cache on disk. It is only appended to, so that a process killed at any moment leaves a valid cache."""

import os
import shutil
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from eml.errors import DataError, OutputError
from eml.files import refuse_pipe, whole_file, write_json
from eml.images.cache.settings import CacheSettings, describe_header
from eml.json_files import read_json
from eml.progress import Report
from eml.units import MIB

ENTRY = np.dtype(
    [
        ("key", "<u8"),  # digest of the image's path and box
        ("bytes", "<i8"),  # size of the file; with its time it shows that the file has not changed
        ("mtime_ns", "<i8"),
        ("content", "V16"),  # blake2b of the file
        ("offset", "<i8"),  # in data.bin
        ("length", "<i8"),
        ("height", "<i4"),
        ("width", "<i4"),
        ("crc", "<u4"),  # CRC-32 of the stored bytes
    ]
)
Entries = NDArray[np.void]
"""(M,) of ENTRY; of several entries with the same key the last one counts."""

_BLOCK = struct.Struct("<4sII")  # mark, number of entries, CRC-32 of their bytes
_MARK = b"eml\1"

CACHE_FOLDER = ".eml_cache"
"""The folder of caches, beside the images."""

PREFIXES = ("images-", "squares-", "pictures-")
"""Names of caches begin so; `pictures-` in version 0.1.0."""
VERSION_KEYS = {"version", "made_as"}
"""A header has one of these keys; `made_as` in version 0.1.0."""

COMMIT_BYTES = 256 * MIB
"""Images are entered into the index, and are then safe, after at most this many bytes …"""
COMMIT_SECONDS = 5.0
"""… and after at most this many seconds."""
INDEX_ROOM = MIB
"""Bytes of images that are dropped on a full disk to make room for the entries of one commit."""
POLL_SECONDS = 0.2  # between two attempts to lock the cache


class CacheStore:
    """The cache for some settings in a folder of caches."""

    def __init__(self, folder: Path, settings: CacheSettings, path: Path | None = None) -> None:
        """Name the cache. path: its own folder, where it is not that of the settings in `folder`."""
        self.folder, self.settings = folder, settings
        self.path = path or folder / settings.name
        self.data, self.index, self.header = (self.path / name for name in ("data.bin", "index.bin", "header.json"))

    def exists(self) -> bool:
        """Return whether the cache exists. Raises DataError when its header has other settings, and it is not read."""
        if not self.header.exists():
            return False
        header = read_header(self.path)
        if header == self.settings.header():
            return True
        problem = "is damaged"
        if header is not None:
            problem = f"describes {describe_header(header)}, which differs from its name and this run ({self.settings})"
        raise DataError(
            f"{self.header}: {problem}, so the cache is not read. Remove its folder, or run eml cache --clear",
            code="damaged-file",
        )

    def create(self) -> None:
        """Create an empty cache, if there is none."""
        if not self.exists():
            write_json(self.header, self.settings.header())

    def entries(self) -> Entries:
        """Return the entries whose images are complete. Raises DataError when the index cannot be read."""
        entries = self._read()[0]
        return entries[self._within(entries)]

    def _read(self) -> tuple[Entries, int]:
        """Return the entries of all complete blocks and their end; a killed process may leave an incomplete block."""
        try:
            refuse_pipe(file := self.data)
            refuse_pipe(file := self.index)
            raw = self.index.read_bytes() if self.index.exists() else b""
        except OSError as error:
            raise DataError(f"{file}: cannot be read: {error.strerror}", code="not-readable") from error
        blocks, end = [np.zeros(0, ENTRY)], 0
        while end + _BLOCK.size <= len(raw):
            mark, count, crc = _BLOCK.unpack_from(raw, end)
            block = raw[end + _BLOCK.size : end + _BLOCK.size + count * ENTRY.itemsize]
            if mark != _MARK or len(block) != count * ENTRY.itemsize or zlib.crc32(block) != crc:
                break
            blocks.append(np.frombuffer(block, ENTRY))
            end += _BLOCK.size + len(block)
        return np.concatenate(blocks), end

    def _within(self, entries: Entries) -> NDArray[np.bool_]:
        size = self.data.stat().st_size if self.data.exists() else 0
        return np.asarray(entries["offset"] + entries["length"] <= size)

    def mend(self, *, thorough: bool = False) -> int:
        """Remove entries whose images are damaged, so that they are stored again; return their number.

        Checks the size of the data and the images of the last block, or with `thorough` all images. The caller holds
        the lock.
        """
        entries, end = self._read()
        good = self._within(entries)
        if not thorough and good.all():
            last = _last_block(self.index, end)
            good[len(entries) - last :] = ~self._differ(entries[len(entries) - last :])
        elif thorough:
            good[good] = ~self._differ(entries[good])
        if lost := int(np.count_nonzero(~good)):
            with whole_file(self.index) as temporary:
                temporary.write_bytes(_block(entries[good]))
        return lost

    def read(self, entry: Any) -> bytes | None:
        """Return an entry's stored bytes; None where they do not have the checksum with which they were written."""
        with self.data.open("rb") as file:
            data = _bytes_at(file, entry)
        return data if zlib.crc32(data) == entry["crc"] else None

    def _differ(self, entries: Entries) -> NDArray[np.bool_]:
        """Return which entries' bytes do not have the checksum with which they were written, (M,)."""
        with self.data.open("rb") if len(entries) else open(os.devnull, "rb") as file:  # noqa: PTH123 - no Path
            return np.array([zlib.crc32(_bytes_at(file, entry)) != entry["crc"] for entry in entries], bool)

    @contextmanager
    def locked(self, report: Report) -> Iterator[None]:
        """Hold the lock of the cache; report and wait while another process holds it. A killed process holds none."""
        lock, owner = FileLock(self.path / "lock"), self.path / "owner"
        try:
            try:
                lock.acquire(timeout=0)
            except Timeout:
                report(f"cache: waiting for process {_read_owner(owner)}, which is filling {self.path}")
                lock.acquire(poll_interval=POLL_SECONDS)
            owner.write_text(str(os.getpid()), encoding="ascii")
        except OSError as error:
            lock.release(force=True)
            raise OutputError(
                f"{self.path}: cannot be locked: {error.strerror or error}", code="not-writable"
            ) from error
        try:
            yield
        finally:
            lock.release()


class CacheWriter:
    """Appends to a store; the caller holds its lock. Images that are not committed when the process dies are lost.

    Args:
        store: The store.
        seconds: Images are committed after so many seconds at the latest.
    """

    def __init__(self, store: CacheStore, seconds: float = COMMIT_SECONDS) -> None:
        self.store, self._seconds = store, seconds
        self.count = self.bytes = 0
        self._pending: list[tuple[Any, ...]] = []

    def __enter__(self) -> Self:
        with _written(self.store):
            entries, self._index_end = self.store._read()
            self._end = int((entries["offset"] + entries["length"]).max(initial=0))
            self._data, self._index = (path.open("ab", buffering=0) for path in (self.store.data, self.store.index))
            self._data.truncate(self._end)  # the rest was never committed
            self._index.truncate(self._index_end)
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, OutputError):
                self._make_room()
            self.commit()
        except OutputError:
            if error is None:  # otherwise the first error is raised
                raise
        finally:
            self._data.close()
            self._index.close()

    def add(self, key: int, state: tuple[int, int], content: bytes, data: bytes, shape: tuple[int, ...]) -> None:
        """Append an image. Raises OutputError when the disk is full; earlier images are kept."""
        with _written(self.store):
            _write_all(self._data, data)
        place = (self._end, len(data), shape[0], shape[1], zlib.crc32(data))
        self._end += len(data)
        self._enter(key, state, content, place)
        self.count, self.bytes = self.count + 1, self.bytes + len(data)

    def renew(self, entry: Any, state: tuple[int, int]) -> None:
        """Record a new time of a file with the same content."""
        place = tuple(entry[name] for name in ("offset", "length", "height", "width", "crc"))
        self._enter(entry["key"], state, entry["content"].tobytes(), place)

    def _enter(self, key: int, state: tuple[int, int], content: bytes, place: tuple[Any, ...]) -> None:
        self._pending.append((key, *state, content, *place))
        if self._end - self._began[0] >= COMMIT_BYTES or time.monotonic() - self._began[1] >= self._seconds:
            self.commit()

    def commit(self) -> None:
        """Write the images first, then their entries."""
        if self._pending:
            with _written(self.store):
                os.fsync(self._data.fileno())
                block = _block(np.array(self._pending, ENTRY))
                self._index.truncate(self._index_end)  # a full disk may have interrupted an earlier attempt
                _write_all(self._index, block)
                os.fsync(self._index.fileno())
            self._index_end += len(block)
            self._pending = []
        self._begin()

    def _make_room(self) -> None:
        """Drop the last images on a full disk, so that the entries of the earlier ones can be written."""
        target, committed = self._end - INDEX_ROOM, self._began[0]
        while self._pending and self._end > target:
            if (offset := self._pending.pop()[4]) >= committed:  # otherwise a renewed entry of an earlier image
                self._end = offset
        with _written(self.store):
            self._data.truncate(self._end)

    def _begin(self) -> None:
        self._began = self._end, time.monotonic()


def read_header(path: Path) -> dict[str, Any] | None:
    """Read the header in a cache's folder; None when there is no readable header."""
    try:
        header = read_json(path / "header.json")
    except (OSError, ValueError):
        return None
    return header if isinstance(header, dict) and VERSION_KEYS & header.keys() else None


def caches(folder: Path) -> dict[Path, tuple[str, int]]:
    """Return the caches in a folder, also those of earlier versions, with a description and their bytes."""
    descriptions = {}
    for path in sorted(folder.glob("*-*")) if folder.is_dir() else []:
        if path.name.startswith(PREFIXES) and (header := read_header(path)) is not None:
            size = sum(file.stat().st_size for file in path.iterdir() if file.is_file())
            descriptions[path] = describe_header(header), size
    return descriptions


def remove(path: Path) -> None:
    """Remove a cache's folder, and its parent when that is a folder of caches and empty."""
    try:
        shutil.rmtree(path)
        if path.parent.name == CACHE_FOLDER and not any(path.parent.iterdir()):
            path.parent.rmdir()
    except OSError as error:
        raise OutputError(f"{path}: cannot be removed: {error.strerror}", code="not-writable") from error


def _read_owner(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip() or "?"
    except (OSError, ValueError):
        return "?"


def _block(entries: Entries) -> bytes:
    data = entries.tobytes()
    return _BLOCK.pack(_MARK, len(entries), zlib.crc32(data)) + data


def _last_block(index: Path, end: int) -> int:
    """Return the number of entries of the last complete block."""
    position = count = 0
    with index.open("rb") if end else open(os.devnull, "rb") as file:  # noqa: PTH123 - no Path
        while position < end:
            file.seek(position)
            _, count, _ = _BLOCK.unpack(file.read(_BLOCK.size))
            position += _BLOCK.size + count * ENTRY.itemsize
    return int(count)


def _bytes_at(file: Any, entry: Any) -> bytes:
    file.seek(int(entry["offset"]))
    data: bytes = file.read(int(entry["length"]))
    return data


def _write_all(file: Any, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


@contextmanager
def _written(store: CacheStore) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{store.path}: cannot be written: {error.strerror or error}. The stored images remain, and the next run "
            "continues from there",
            code="not-writable",
        ) from error
