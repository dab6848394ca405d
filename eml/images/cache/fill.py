"""Files → cache: what is there and unchanged is kept, the rest is made."""

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eml.errors import DataError, OutputError
from eml.images.cache.settings import Settings
from eml.images.cache.source import CachedSource
from eml.images.cache.store import ENTRY, Entries, Store, Writer
from eml.images.decode import read
from eml.images.source import FileSource
from eml.threads import in_order
from eml.units import MIB

SHOWN = 20  # images that cannot be read
WORTH_TELLING = 256 * MIB  # of what changed images have left behind
SAMPLE = 24  # images made to know how much room the others take

Report = Callable[[str], None]
"""Is told a line."""
Advance = Callable[[int, int], None]
"""Is told how many images of how many are made."""


@dataclass(frozen=True)
class Filled:
    """source: of all rows, in the files' order. made, bytes: what was added. renewed: files of another time alone."""

    source: CachedSource
    made: int
    renewed: int
    bytes: int
    seconds: float


def fill(
    folder: Path,
    settings: Settings,
    files: FileSource,
    *,
    report: Report = lambda line: None,
    advance: Advance = lambda done, total: None,
    check: bool = False,
) -> Filled:
    """The cache of these files in a folder of caches, after what is missing or was changed has been made.

    A file whose size and time are what they were is taken as unchanged. A stop at any moment loses the last seconds of
    work. check: first compare all that is kept with its checksums. Raises DataError with all images that cannot be
    read (20 at most are named), the others being kept, and OutputError when there is no room.
    """
    store, started = Store(folder, settings), time.monotonic()
    wanted = _Wanted(files, _keys(files, folder), _states(files))
    made = renewed = size = 0
    entries = store.entries() if store.exists() else np.zeros(0, ENTRY)
    if check or not wanted.current(entries).all():
        _begin(store)
        with store.locked(report):
            if lost := store.mend(thorough=check):
                report(f"warning: {store.path}: {lost:,} images are damaged or cut off, and are made again")
            made, renewed, size = _make(store, wanted, report, advance)
        entries = store.entries()
        if (left := _left_over(entries)) > WORTH_TELLING:
            report(
                f"cache: {left / MIB:,.0f} MiB of {store.path} are of images that have changed since; to have them "
                "back, make it anew after eml cache --clear"
            )
    source = CachedSource(store.data, entries[wanted.places(entries)], jpeg=settings.format == "jpeg")
    return Filled(source, made, renewed, size, time.monotonic() - started)


@dataclass(frozen=True)
class _Wanted:
    """files: of N rows. keys: (N,) uint64, of where an image lies and its box. states: (N, 2) bytes and time (ns)."""

    files: FileSource
    keys: NDArray[np.uint64]
    states: NDArray[np.int64]

    def places(self, entries: Entries) -> NDArray[np.int64]:
        """(N,) in the entries, the last of each key; −1: not there."""
        order = np.argsort(entries["key"], kind="stable")
        inside = np.searchsorted(entries["key"], self.keys, side="right", sorter=order) - 1
        places = np.where(inside >= 0, order[inside], -1) if len(entries) else inside
        return np.where((places >= 0) & (entries["key"][places] == self.keys), places, -1) if len(entries) else places

    def current(self, entries: Entries) -> NDArray[np.bool_]:
        """(N,) which rows' files are as they were when their images were made."""
        places = self.places(entries)
        if not len(entries):
            return places >= 0
        found = entries[places]
        same = (found["bytes"] == self.states[:, 0]) & (found["mtime_ns"] == self.states[:, 1])
        return np.asarray((places >= 0) & same)


def _keys(files: FileSource, folder: Path) -> NDArray[np.uint64]:
    """Paths are taken from the folder of caches: one that lies with the images can be moved with them."""
    try:
        root = os.path.relpath(files.root.resolve(), folder.resolve())
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
    for row in range(len(files)):
        states[row] = _state(start + names[offsets[row] : offsets[row + 1]])
    return states


def _state(path: Path | bytes) -> tuple[int, int]:
    """Bytes and time (ns)."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a Path for each of a million is slow
    except OSError:
        return -1, -1  # what is wrong with it is told when it is read
    return found.st_size, found.st_mtime_ns


def _left_over(entries: Entries) -> int:
    """Bytes of images that later ones have taken the place of."""
    last = len(entries) - 1 - np.unique(entries["key"][::-1], return_index=True)[1]
    return int(entries["length"].sum() - entries["length"][last].sum())


def _begin(store: Store) -> None:
    try:
        store.folder.mkdir(parents=True, exist_ok=True)
        store.create()
    except (OSError, OutputError) as error:
        told = (
            error.problems[0] if isinstance(error, OutputError) else f"{store.folder}: cannot be made: {error.strerror}"
        )
        raise OutputError(f"{told}. data.cache.folder, or eml cache --folder, puts the cache elsewhere") from error


@dataclass(frozen=True)
class _Made:
    """content: of the file. data: as kept; None where the content is what it was."""

    state: tuple[int, int]
    content: bytes
    data: bytes | None
    shape: tuple[int, ...]


def _make(store: Store, wanted: _Wanted, report: Report, advance: Advance) -> tuple[int, int, int]:
    """The images that are missing or were changed. How many were made, how many only have another time; bytes."""
    entries = store.entries()
    rows = np.flatnonzero(~wanted.current(entries))
    rows = rows[np.sort(np.unique(wanted.keys[rows], return_index=True)[1])]
    places = wanted.places(entries)

    def made(row: int) -> _Made | DataError:
        earlier = entries[places[row]]["content"].tobytes() if places[row] >= 0 else None
        try:
            return _made(store.settings, wanted.files, row, earlier)
        except DataError as error:
            return error

    _check_room(store, len(rows), [made(row) for row in rows[:: -(-len(rows) // SAMPLE) or 1].tolist()], report)
    problems: list[str] = []
    renewed = 0
    with Writer(store) as writer:
        for done, (row, found) in enumerate(zip(rows, in_order(made, rows.tolist()), strict=True), 1):
            if isinstance(found, DataError):
                problems += found.problems
            elif found.data is None:
                writer.renew(entries[places[row]], found.state)
                renewed += 1
            else:
                writer.add(int(wanted.keys[row]), found.state, found.content, found.data, found.shape)
            advance(done, len(rows))
    if problems:
        more = [f"and {len(problems) - SHOWN:,} more"] if len(problems) > SHOWN else []
        raise DataError([*problems[:SHOWN], *more, f"{store.path}: holds the other images. eml scan lists bad files"])
    return writer.count, renewed, writer.bytes


def _made(settings: Settings, files: FileSource, row: int, earlier: bytes | None) -> _Made:
    """earlier: the content of the row's file when its image was made. Raises DataError when it cannot be read."""
    path = files.path(row)
    state = _state(path)  # before it is read: a change meanwhile is seen the next time
    data = read(path)
    content = hashlib.blake2b(data, digest_size=16).digest()
    if content == earlier:
        return _Made(state, content, None, ())
    pixels = settings.made(data, path, files.box(row))
    return _Made(state, content, settings.encoded(pixels), pixels.shape)


def _check_room(store: Store, count: int, sample: list[_Made | DataError], report: Report) -> None:
    """Tells what room `count` images will take, by a sample. Raises OutputError when there is less."""
    sizes = [len(each.data or b"") for each in sample if isinstance(each, _Made)]
    needed = round(count * float(np.mean(sizes))) if sizes else 0
    free = shutil.disk_usage(store.path).free
    if needed > free:
        raise OutputError(
            f"{store.path}: {count:,} images would take about {needed / MIB:,.0f} MiB ({store.settings}), and "
            f"{free / MIB:,.0f} MiB are free. Make room, choose another folder or a smaller side, or format jpeg"
        )
    if needed:
        report(f"cache: {count:,} images to make, about {needed / MIB:,.0f} MiB ({store.settings}), in {store.path}")
