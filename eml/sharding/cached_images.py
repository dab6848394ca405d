"""Caches of images: a shard fills a cache of its own, merging puts the images in the order of the table."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eml.files import bytes_digest
from eml.images.cache.fill import CachedRows, FillResult, added_to, cached_rows, fill
from eml.images.cache.source import CachedSource
from eml.images.cache.store import ENTRY, CacheStore, CacheWriter, Entries
from eml.inference.images import table_files
from eml.progress import Report
from eml.training.caches import TableCache


@dataclass(frozen=True)
class CachePart:
    """The cache of a shard.

    Attributes:
        path: Its folder.
        rows: The rows of the whole cache that it has.
        digest: Digest of their entries, as the shard wrote it; empty where there is none to compare with.
    """

    path: Path
    rows: Sequence[int]
    digest: str = ""


def fill_part(
    request: TableCache, part: CachePart, report: Report, advance: Callable[[int, int], None], *, check: bool
) -> str:
    """Store the images of a part of a cache, and return the digest of their entries.

    Raises:
        DataError: Images cannot be read; the others are stored.
        OutputError: There is not enough room.
    """
    if not part.rows:
        return bytes_digest(b"")
    frame = request.frame.iloc[list(part.rows)]
    files = table_files(request.table, frame, request.settings.background)
    fill(request.folder, request.settings, files, report=report, advance=advance, check=check, path=part.path)
    return bytes_digest(_entries(request, part).tobytes())


def merge_parts(
    request: TableCache, parts: Sequence[CachePart], report: Report, advance: Callable[[int, int], None], *, check: bool
) -> FillResult:
    """Add the images of all parts to the cache, those that are in it already and unchanged left out.

    Raises:
        ValueError: A part is damaged.
        OutputError: The cache cannot be written.
    """
    started = time.monotonic()
    files = table_files(request.table, request.frame, request.settings.background)
    rows = cached_rows(files, request.folder)
    store = CacheStore(request.folder, request.settings)
    entries, owners = np.zeros(len(files), ENTRY), np.zeros(len(files), np.int64)
    for number, part in enumerate(parts):
        of_part = _entries(request, part)
        if bytes_digest(of_part.tobytes()) != part.digest:
            raise ValueError(f"{part.path}: is damaged, or was changed since its shard was done")
        entries[list(part.rows)], owners[list(part.rows)] = of_part, number
    stores = [CacheStore(request.folder, request.settings, part.path) for part in parts]

    def add() -> tuple[int, int, int]:
        return _add(store, rows, entries, [stores[owner] for owner in owners.tolist()], advance)

    added, renewed, size = added_to(store, rows, add, report, check=check)
    present = store.entries()
    source = CachedSource(store.data, present[rows.places(present)], jpeg=request.settings.format == "jpeg")
    return FillResult(source, added, renewed, size, time.monotonic() - started)


def _entries(request: TableCache, part: CachePart) -> Entries:
    """Return the entry of each row of a part. Raises ValueError where one is missing."""
    if not part.rows:
        return np.zeros(0, ENTRY)
    frame = request.frame.iloc[list(part.rows)]
    rows = cached_rows(table_files(request.table, frame, request.settings.background), request.folder)
    entries = CacheStore(request.folder, request.settings, part.path).entries()
    places = rows.places(entries)
    if (places < 0).any():
        raise ValueError(f"{part.path}: lacks images of its shard")
    return entries[places]


def _add(
    store: CacheStore,
    requested: CachedRows,
    entries: Entries,
    sources: Sequence[CacheStore],
    advance: Callable[[int, int], None],
) -> tuple[int, int, int]:
    """Append images in the order of the rows, as filling the whole cache does, but committed by their bytes alone."""
    present = store.entries()
    rows: NDArray[np.int64] = requested.missing(present)
    places, renewed = requested.places(present), 0
    with CacheWriter(store, math.inf) as writer:
        for done, row in enumerate(rows.tolist(), 1):
            entry, state = entries[row], (int(entries[row]["bytes"]), int(entries[row]["mtime_ns"]))
            earlier = present[places[row]] if places[row] >= 0 else None
            if earlier is not None and earlier["content"].tobytes() == entry["content"].tobytes():
                writer.renew(earlier, state)
                renewed += 1
            else:
                data = sources[row].read(entry)
                if data is None:
                    raise ValueError(f"{sources[row].path}: an image in it is damaged")
                shape = (int(entry["height"]), int(entry["width"]))
                writer.add(int(entry["key"]), state, entry["content"].tobytes(), data, shape)
            advance(done, len(rows))
    return writer.count, renewed, writer.bytes
