"""A cache on disk: appended to, never changed, so that a kill at any moment leaves it whole as far as it goes."""

import json
import os
import shutil
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from eml.errors import DataError, OutputError
from eml.files import whole_file, write_json
from eml.images.cache.settings import Settings, described

ENTRY = np.dtype(
    [
        ("key", "<u8"),  # digest of where the image lies and its box
        ("bytes", "<i8"),  # of the file, by which with its time is known that it has not changed
        ("mtime_ns", "<i8"),
        ("content", "V16"),  # blake2b of the file
        ("offset", "<i8"),  # in data.bin
        ("length", "<i8"),
        ("height", "<i4"),
        ("width", "<i4"),
        ("crc", "<u4"),  # CRC-32 of what lies there
    ]
)
Entries = NDArray[np.void]
"""(M,) of ENTRY; of several with one key the last counts."""

_BLOCK = struct.Struct("<4sII")  # mark, number of entries, CRC-32 of their bytes
_MARK = b"eml\1"

COMMIT_BYTES = 256 * 2**20
"""Images are entered into the index, and are then safe, at most so many bytes after they were made …"""
COMMIT_SECONDS = 5.0
"""… and at most so long."""
INDEX_ROOM = 2**20
"""Bytes of images given up on a full disk, more than the entries of one commit take unless images are tiny."""


class Store:
    """The cache of some settings in a folder of caches."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder, self.settings = folder, settings
        self.path = folder / settings.name
        self.data, self.index, self.header = (self.path / name for name in ("data.bin", "index.bin", "header.json"))

    def exists(self) -> bool:
        """Whether it was begun. Raises DataError when its header has other settings: it is not read then."""
        if not self.header.exists():
            return False
        found = read_header(self.path)
        if found != self.settings.header():
            wrong = "is damaged" if found is None else f"says it holds {described(found)}, which is not what its name"
            told = f"{wrong} and this run stand for ({self.settings})" if found is not None else wrong
            raise DataError(
                f"{self.header}: {told}, so the cache is not read. Remove its folder, or run eml cache with --clear"
            )
        return True

    def create(self) -> None:
        """An empty one, if it was not begun."""
        if not self.exists():
            write_json(self.header, self.settings.header())

    def entries(self) -> Entries:
        """All whose images are there. Raises DataError when it cannot be read."""
        entries = self._read()[0]
        return entries[self._within(entries)]

    def _read(self) -> tuple[Entries, int]:
        """The entries of all whole blocks, and where these end; what a killed process left after them is no block."""
        try:
            raw = self.index.read_bytes() if self.index.exists() else b""
        except OSError as error:
            raise DataError(f"{self.index}: cannot be read: {error.strerror}") from error
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
        """Forgets entries whose images are not what was written, so that they are made again; how many.

        Looks at the size of the data and at the last block's images, thorough: at all. For the holder of the lock.
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

    def _differ(self, entries: Entries) -> NDArray[np.bool_]:
        """(M,) whose bytes have another checksum than when they were written."""
        with self.data.open("rb") if len(entries) else open(os.devnull, "rb") as file:  # noqa: PTH123 - no Path
            return np.array([zlib.crc32(_bytes_at(file, each)) != each["crc"] for each in entries], bool)

    @contextmanager
    def locked(self, report: Callable[[str], None]) -> Iterator[None]:
        """While this process may write; waits for another that does, and says so. A killed one holds no lock."""
        try:
            import fcntl
        except ImportError:  # Windows: two processes must not fill one cache at once
            yield
            return
        lock = self.path / "lock"
        try:
            file = lock.open("a+", encoding="ascii")
        except OSError as error:
            raise OutputError(f"{lock}: cannot be written: {error.strerror}") from error
        with file:
            told = False
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if not told:
                        file.seek(0)
                        report(f"cache: waiting for process {file.read().strip() or '?'}, which is filling {self.path}")
                    told = True
                    time.sleep(0.2)
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield


class Writer:
    """Appends to a store; the caller holds its lock. What is not committed when the process dies is made again."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.count = self.bytes = 0
        self._pending: list[tuple[Any, ...]] = []

    def __enter__(self) -> Self:
        with _written(self.store):
            entries, self._index_end = self.store._read()
            self._end = int((entries["offset"] + entries["length"]).max(initial=0))
            self._data, self._index = (path.open("ab", buffering=0) for path in (self.store.data, self.store.index))
            self._data.truncate(self._end)  # what follows was never committed
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
            if error is None:  # else that one is told
                raise
        finally:
            self._data.close()
            self._index.close()

    def add(self, key: int, state: tuple[int, int], content: bytes, data: bytes, shape: tuple[int, ...]) -> None:
        """One image. Raises OutputError when the disk is full; those before are kept."""
        with _written(self.store):
            _write_all(self._data, data)
        place = (self._end, len(data), shape[0], shape[1], zlib.crc32(data))
        self._end += len(data)
        self._enter(key, state, content, place)
        self.count, self.bytes = self.count + 1, self.bytes + len(data)

    def renew(self, entry: Any, state: tuple[int, int]) -> None:
        """An image whose file has another time and the same content."""
        place = tuple(entry[name] for name in ("offset", "length", "height", "width", "crc"))
        self._enter(entry["key"], state, entry["content"].tobytes(), place)

    def _enter(self, key: int, state: tuple[int, int], content: bytes, place: tuple[Any, ...]) -> None:
        self._pending.append((key, *state, content, *place))
        if self._end - self._began[0] >= COMMIT_BYTES or time.monotonic() - self._began[1] >= COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Images first, then the entries that say where they are."""
        if self._pending:
            with _written(self.store):
                os.fsync(self._data.fileno())
                block = _block(np.array(self._pending, ENTRY))
                self._index.truncate(self._index_end)  # an earlier try may have been cut off by a full disk
                _write_all(self._index, block)
                os.fsync(self._index.fileno())
            self._index_end += len(block)
            self._pending = []
        self._begin()

    def _make_room(self) -> None:
        """On a full disk: the last images go, so that the entries of those before them can be written."""
        wanted, committed = self._end - INDEX_ROOM, self._began[0]
        while self._pending and self._end > wanted:
            if (offset := self._pending.pop()[4]) >= committed:  # else a renewed entry, of an earlier image
                self._end = offset
        with _written(self.store):
            self._data.truncate(self._end)

    def _begin(self) -> None:
        self._began = self._end, time.monotonic()


def read_header(path: Path) -> dict[str, Any] | None:
    """Of a cache's folder; None where there is none that can be read."""
    try:
        found = json.loads((path / "header.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "made_as" in found else None


def caches(folder: Path) -> dict[Path, tuple[str, int]]:
    """The caches in a folder: what each holds, and its bytes."""
    found = {}
    for path in sorted(folder.glob("*-*")) if folder.is_dir() else []:
        if path.name.startswith(("images-", "squares-")) and (header := read_header(path)) is not None:
            found[path] = described(header), sum(file.stat().st_size for file in path.iterdir() if file.is_file())
    return found


def remove(path: Path) -> None:
    """A cache's folder; its parent too when nothing else is in it."""
    try:
        shutil.rmtree(path)
        if path.parent.name == ".eml_cache" and not any(path.parent.iterdir()):
            path.parent.rmdir()
    except OSError as error:
        raise OutputError(f"{path}: cannot be removed: {error.strerror}") from error


def _block(entries: Entries) -> bytes:
    data = entries.tobytes()
    return _BLOCK.pack(_MARK, len(entries), zlib.crc32(data)) + data


def _last_block(index: Path, end: int) -> int:
    """Number of entries of the last whole block."""
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
def _written(store: Store) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{store.path}: cannot be written: {error.strerror or error}. The images that are kept stay; it goes on "
            "from there"
        ) from error
