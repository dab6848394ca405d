"""Files → cache: images that are stored and unchanged stay, the others are added."""

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eml.errors import DataError, OutputError, Problem
from eml.images.cache.settings import CacheSettings
from eml.images.cache.source import CachedSource
from eml.images.cache.store import ENTRY, CacheStore, CacheWriter, Entries
from eml.images.decode import read
from eml.images.packed.members import member_state
from eml.images.packed.remote_states import image_info, image_states
from eml.images.source import FileSource
from eml.progress import Report
from eml.storage import RemotePath, is_remote
from eml.storage.file_systems import threads_at
from eml.storage.objects import ObjectInfo
from eml.threads import in_order
from eml.units import MIB

MOST_NAMED = 20  # unreadable images that an error names
WORTH_REPORTING = 256 * MIB  # unused bytes that replaced images leave behind
SAMPLE = 24  # images that are encoded to estimate the size of the others

Advance = Callable[[int, int], None]
"""A function called with the number of finished images and their total."""


@dataclass(frozen=True)
class FillResult:
    """The result of filling a cache.

    source: the images of all rows, in the files' order. added, bytes: number and size of the images that were added.
    renewed: number of files with a new time and the same content.
    """

    source: CachedSource
    added: int
    renewed: int
    bytes: int
    seconds: float


def fill(
    folder: Path,
    settings: CacheSettings,
    files: FileSource,
    *,
    report: Report = lambda line: None,
    advance: Advance = lambda done, total: None,
    check: bool = False,
    path: Path | None = None,
) -> FillResult:
    """Add the missing and changed images of these files to their cache, and return its images.

    A file whose size and time are the same counts as unchanged. Stopping at any moment loses only the last seconds of
    work.

    Args:
        folder: The folder of caches.
        settings: The cache's settings.
        files: The images.
        report: Receives lines for the user.
        advance: Receives the progress.
        check: First compare all stored images with their checksums.
        path: The cache's own folder, where it is not that of the settings in `folder`.

    Raises:
        DataError: Images cannot be read (at most 20 are named); the others are stored.
        OutputError: There is not enough room.
    """
    store, started = CacheStore(folder, settings, path), time.monotonic()
    rows = cached_rows(files, folder)

    def add_missing() -> tuple[int, int, int]:
        return _add_missing(store, rows, report, advance)

    added, renewed, size = added_to(store, rows, add_missing, report, check=check)
    entries = store.entries() if store.exists() else np.zeros(0, ENTRY)
    if (added or renewed) and (unused := _unused_bytes(entries)) > WORTH_REPORTING:
        report(
            f"cache: {unused / MIB:,.0f} MiB of {store.path} belong to images that have changed since; to free "
            "them, run eml cache --clear, then fill the cache again"
        )
    source = CachedSource(store.data, entries[rows.places(entries)], jpeg=settings.format == "jpeg")
    return FillResult(source, added, renewed, size, time.monotonic() - started)


def added_to(
    store: CacheStore, rows: "CachedRows", add: Callable[[], tuple[int, int, int]], report: Report, *, check: bool
) -> tuple[int, int, int]:
    """Call `add` while the store is locked and whole, where it lacks images of the rows; return what it returns.

    check: first compare all stored images with their checksums.
    """
    entries = store.entries() if store.exists() else np.zeros(0, ENTRY)
    if not check and rows.current(entries).all():
        return 0, 0, 0
    _begin(store)
    with store.locked(report):
        if lost := store.mend(thorough=check):
            report(f"warning: {store.path}: {lost:,} images are damaged or cut off, and are stored again")
        return add()


def cached_rows(files: FileSource, folder: Path) -> "CachedRows":
    """Return rows of images with their keys in a folder of caches, and the files' sizes and times."""
    return CachedRows(files, _keys(files, folder), _states(files))


@dataclass(frozen=True)
class CachedRows:
    """N rows. keys: (N,) uint64, digests of path and box. states: (N, 2) the file's bytes and time (ns)."""

    files: FileSource
    keys: NDArray[np.uint64]
    states: NDArray[np.int64]

    def places(self, entries: Entries) -> NDArray[np.int64]:
        """Return each row's index in the entries, the last one of its key; −1: none. (N,)."""
        order = np.argsort(entries["key"], kind="stable")
        inside = np.searchsorted(entries["key"], self.keys, side="right", sorter=order) - 1
        places = np.where(inside >= 0, order[inside], -1) if len(entries) else inside
        return np.where((places >= 0) & (entries["key"][places] == self.keys), places, -1) if len(entries) else places

    def current(self, entries: Entries) -> NDArray[np.bool_]:
        """Return which rows' files have not changed since their images were stored, (N,)."""
        places = self.places(entries)
        if not len(entries):
            return places >= 0
        stored = entries[places]
        same = (stored["bytes"] == self.states[:, 0]) & (stored["mtime_ns"] == self.states[:, 1])
        return np.asarray((places >= 0) & same)

    def missing(self, entries: Entries) -> NDArray[np.int64]:
        """Return the rows whose images are to be stored, of several with one key the first, (n,)."""
        rows = np.flatnonzero(~self.current(entries))
        return rows[np.sort(np.unique(self.keys[rows], return_index=True)[1])]


def _keys(files: FileSource, folder: Path) -> NDArray[np.uint64]:
    """Return digests of paths relative to the folder of caches, so that it can be moved along with the images."""
    try:
        root = str(files.root) if is_remote(files.root) else os.path.relpath(files.root.resolve(), folder.resolve())
    except ValueError:  # another drive
        root = str(files.root.resolve())
    names, offsets, start = files.names.tobytes(), files.offsets.tolist(), f"{root}/".encode()
    boxes = files.boxes.tolist() if files.boxes is not None else None
    keys = np.empty(len(files), np.uint64)
    for row in range(len(files)):
        box = b"\0%d,%d,%d,%d" % tuple(boxes[row]) if boxes is not None and boxes[row][0] >= 0 else b""
        key = hashlib.blake2b(start + names[offsets[row] : offsets[row + 1]] + box, digest_size=8)
        keys[row] = int.from_bytes(key.digest(), "little")
    return keys


def _states(files: FileSource) -> NDArray[np.int64]:
    names, offsets, start = files.names.tobytes(), files.offsets.tolist(), f"{files.root}/".encode()
    states = np.empty((len(files), 2), np.int64)
    if isinstance(files.root, RemotePath):
        listed = [files.name(row) for row in range(len(files))]
        objects = image_states(files.root, dict.fromkeys(listed))
        states[:] = [_state_of(objects.get(name)) for name in listed]
        return states
    for row in range(len(files)):
        states[row] = _state(start + names[offsets[row] : offsets[row + 1]])
    return states


def _state(path: Path | bytes) -> tuple[int, int]:
    """Return the file's bytes and time (ns)."""
    try:
        if isinstance(path, RemotePath):
            return _state_of(image_info(path))
        status = os.stat(path)  # noqa: PTH116 - a Path for each of a million is slow
    except NotADirectoryError:
        return _member_state(os.fsdecode(path))
    except OSError:
        return -1, -1  # reading it later reports the problem
    return status.st_size, status.st_mtime_ns


def _state_of(info: ObjectInfo | None) -> tuple[int, int]:
    """Return the bytes of an object and, in place of a time, the number of its version."""
    return (-1, -1) if info is None else (info.bytes, info.version)


def _unused_bytes(entries: Entries) -> int:
    """Return the bytes of images that later ones replace."""
    last = len(entries) - 1 - np.unique(entries["key"][::-1], return_index=True)[1]
    return int(entries["length"].sum() - entries["length"][last].sum())


def _begin(store: CacheStore) -> None:
    try:
        store.folder.mkdir(parents=True, exist_ok=True)
        store.create()
    except (OSError, OutputError) as error:
        problem = f"{store.folder}: cannot be created"
        text = error.problems[0] if isinstance(error, OutputError) else f"{problem}: {error.strerror}"
        advice = "Set data.cache.folder, or give eml cache another folder: eml cache SOURCE --folder FOLDER"
        raise OutputError(f"{text}. {advice}", code="not-writable", parameter="data.cache.folder") from error


@dataclass(frozen=True)
class _EncodedImage:
    """content: digest of the file. data: the bytes to store, or None when the content has not changed."""

    state: tuple[int, int]
    content: bytes
    data: bytes | None
    shape: tuple[int, ...]


def _add_missing(store: CacheStore, requested: CachedRows, report: Report, advance: Advance) -> tuple[int, int, int]:
    """Add missing and changed images; return how many were added, how many only have a new time, and the bytes."""
    entries = store.entries()
    rows = requested.missing(entries)
    places = requested.places(entries)

    def encode(row: int) -> _EncodedImage | DataError:
        earlier = entries[places[row]]["content"].tobytes() if places[row] >= 0 else None
        try:
            return _encode(store.settings, requested.files, row, earlier)
        except DataError as error:
            return error

    _check_room(store, len(rows), [encode(row) for row in rows[:: -(-len(rows) // SAMPLE) or 1].tolist()], report)
    problems: list[Problem] = []
    renewed = 0
    with CacheWriter(store) as writer:
        for done, (row, image) in enumerate(
            zip(rows, in_order(encode, rows.tolist(), threads_at(requested.files.root)), strict=True), 1
        ):
            if isinstance(image, DataError):
                problems += image.problems
            elif image.data is None:
                writer.renew(entries[places[row]], image.state)
                renewed += 1
            else:
                writer.add(int(requested.keys[row]), image.state, image.content, image.data, image.shape)
            advance(done, len(rows))
    if problems:
        more = [f"and {len(problems) - MOST_NAMED:,} more"] if len(problems) > MOST_NAMED else []
        rest = f"{store.path}: contains the other images. eml scan lists bad files"
        raise DataError([*problems[:MOST_NAMED], *more, rest], code="unreadable-image")
    return writer.count, renewed, writer.bytes


def _encode(settings: CacheSettings, files: FileSource, row: int, earlier: bytes | None) -> _EncodedImage:
    """Encode a row's image, unless the file still has the content `earlier`. Raises DataError when it is unreadable."""
    path = files.path(row)
    state = _state(path)  # before reading: a change meanwhile is noticed the next time
    data = read(path)
    content = hashlib.blake2b(data, digest_size=16).digest()
    if content == earlier:
        return _EncodedImage(state, content, None, ())
    pixels = settings.decode(data, path, files.box(row))
    return _EncodedImage(state, content, settings.encode(pixels), pixels.shape)


def _check_room(store: CacheStore, count: int, sample: list[_EncodedImage | DataError], report: Report) -> None:
    """Report the size of `count` images, estimated from a sample. Raises OutputError when there is less room."""
    sizes = [len(image.data or b"") for image in sample if isinstance(image, _EncodedImage)]
    needed = round(count * float(np.mean(sizes))) if sizes else 0
    free = shutil.disk_usage(store.path).free
    if needed > free:
        raise OutputError(
            f"{store.path}: {count:,} images need about {needed / MIB:,.0f} MiB ({store.settings}), and "
            f"{free / MIB:,.0f} MiB are free. Make room, choose another folder or a smaller side, or format jpeg",
            code="disk-full",
        )
    if needed:
        report(f"cache: {count:,} images to add, about {needed / MIB:,.0f} MiB ({store.settings}), in {store.path}")


def _member_state(path: str) -> tuple[int, int]:
    try:
        state = member_state(path)
    except OSError:
        state = None
    return (-1, -1) if state is None else (-1 if state.size is None else state.size, state.mtime)
