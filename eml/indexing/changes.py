"""The changes of an index: adding and removing images, each one transaction that makes a new generation."""

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.columns import BOX
from eml.indexing.database import damaged
from eml.indexing.embedding_rows import embedding_records, write_segments
from eml.indexing.image_rows import PreparedRows, Value, row_checksum
from eml.indexing.segment_files import FOLDER, SEGMENT_ROWS, SUFFIX, Numbers
from eml.indexing.state import MODULUS, IndexState, SegmentRecord, StoredColumn, ids_sum, write_state

Duplicates = Literal["skip", "keep"]
PART = 10_000  # ids bound to one statement
Key = tuple[Value, ...]


@dataclass(frozen=True)
class AddedImages:
    """The result of an addition.

    Attributes:
        ids: (n,) ids of the new images, in the order of their rows.
        skipped: The rows that were left out since the index has their image: `row`, `file_name`, and `id` and `label`
            of the image there, which may be one of the same addition.
    """

    ids: NDArray[np.int64]
    skipped: pd.DataFrame


@dataclass(frozen=True)
class IndexChange:
    """A change under way: the connection, the index and its embeddings' size and storage."""

    connection: sqlite3.Connection
    folder: Path
    size: int
    storage: str


def add_images(
    change: IndexChange, state: IndexState, vectors: Numbers, rows: PreparedRows, duplicates: Duplicates
) -> AddedImages:
    """Add images to the tables and to a segment, in a transaction that is open."""
    connection = change.connection
    columns = _add_columns(connection, state.columns, rows.columns)
    kept, skipped = _without_duplicates(connection, state, rows, duplicates)
    ids = np.arange(state.last_id + 1, state.last_id + 1 + len(kept), dtype=np.int64)
    if not len(ids):
        return AddedImages(ids, skipped)
    checksums = _insert_images(connection, ids.tolist(), rows, kept)
    connection.executemany(
        "INSERT INTO embeddings(id, vector, checksum) VALUES (?, ?, ?)",
        embedding_records(ids.tolist(), vectors if len(kept) == len(vectors) else vectors[kept]),
    )
    state = replace(
        state,
        images=state.images + len(ids),
        images_sum=(state.images_sum + sum(checksums)) % MODULUS,
        last_id=int(ids[-1]),
        columns=columns,
    )
    write_state(connection, with_new_tail(change, state, len(ids)), change.folder)
    return AddedImages(ids, skipped)


def with_new_tail(change: IndexChange, state: IndexState, pending: int) -> IndexState:
    """Return the next state, after writing the newest `pending` images and small segments before them as new ones.

    A segment of fewer than twice the rows that follow it is written again with them, so that there are few segments
    however few images each addition has, and each image is written again some ten times at most.
    """
    segments = list(state.segments)
    while segments and segments[-1].rows < SEGMENT_ROWS and segments[-1].rows < 2 * pending:
        pending += segments.pop().rows
    return rewritten(change, state, len(segments))


def rewritten(change: IndexChange, state: IndexState, kept: int) -> IndexState:
    """Return the next state, after writing all images behind the first `kept` segments as new segments."""
    first = state.segments[kept - 1].last + 1 if kept else 0
    records = write_segments(
        change.connection,
        change.folder,
        state.generation + 1,
        (change.size, change.storage),
        (first, state.last_id),
    )
    gone = take_removed(change.connection, first, state.last_id)
    return state.next(
        segments=(*state.segments[:kept], *records),
        removed=state.removed - len(gone),
        removed_sum=(state.removed_sum - ids_sum(gone)) % MODULUS,
    )


def remove_images(change: IndexChange, state: IndexState, ids: NDArray[np.int64]) -> None:
    """Remove images from the tables, in a transaction that is open; their rows in segments become tombstones."""
    connection, total = change.connection, 0
    for part in _parts(ids.tolist()):
        marks = ", ".join("?" * len(part))
        sums = connection.execute(f"SELECT checksum FROM images WHERE id IN ({marks})", part).fetchall()
        if len(sums) != len(part) or not all(isinstance(checksum, int) for (checksum,) in sums):
            raise damaged(change.folder, f"{len(part) - len(sums):,} images to remove are not in its table")
        total += sum(checksum for (checksum,) in sums)
        for table in ("images", "embeddings"):
            connection.execute(f"DELETE FROM {table} WHERE id IN ({marks})", part)
    connection.executemany("INSERT INTO removed(id) VALUES (?)", ((number,) for number in ids.tolist()))
    state = state.next(
        images=state.images - len(ids),
        images_sum=(state.images_sum - total) % MODULUS,
        removed=state.removed + len(ids),
        removed_sum=(state.removed_sum + ids_sum(ids)) % MODULUS,
        removal=state.generation + 1,
    )
    write_state(connection, state, change.folder)


def delete_orphans(folder: Path, segments: Sequence[SegmentRecord]) -> None:
    """Delete what is under derived/ and belongs to no segment. Only in a writer's transaction: nobody writes there."""
    for path in orphans(folder, segments):
        with suppress(OSError):
            path.unlink()


def orphans(folder: Path, segments: Sequence[SegmentRecord]) -> list[Path]:
    """Return the files under derived/ that belong to no segment: what killed or interrupted writers have left."""
    names = {record.name for record in segments}
    try:
        paths = sorted((folder / FOLDER).iterdir())
    except OSError:
        return []
    return [path for path in paths if path.name.partition(SUFFIX)[0] + SUFFIX not in names and not path.is_dir()]


def delete_segment(folder: Path, record: SegmentRecord) -> None:
    """Delete a segment's file and what is made of it. A reader that has it open keeps it."""
    for path in (folder / FOLDER).glob(f"{record.name}*"):
        with suppress(OSError):
            path.unlink()


def take_removed(connection: sqlite3.Connection, first: int, last: int) -> NDArray[np.int64]:
    """Delete the tombstones from `first` to `last` and return them."""
    rows = connection.execute("SELECT id FROM removed WHERE id BETWEEN ? AND ?", (first, last)).fetchall()
    connection.execute("DELETE FROM removed WHERE id BETWEEN ? AND ?", (first, last))
    return np.array(rows, np.int64).reshape(-1)


def _add_columns(
    connection: sqlite3.Connection, stored: tuple[StoredColumn, ...], needed: Iterable[StoredColumn]
) -> tuple[StoredColumn, ...]:
    """Add the columns that the table lacks; return all."""
    fresh = tuple(column for column in needed if column not in stored)
    for column in fresh:
        connection.execute(f"ALTER TABLE images ADD COLUMN {column.field}")
    return (*stored, *fresh)


def _insert_images(
    connection: sqlite3.Connection, ids: Sequence[int], rows: PreparedRows, kept: NDArray[np.int64]
) -> list[int]:
    """Insert rows of the table and return their checksums."""
    fields = [column.field for column in rows.columns]
    names = ", ".join(["id", "file_name", "label", "content", "checksum", *fields])
    marks = ", ".join("?" * (5 + len(fields)))
    records, checksums = [], []
    for number, row in zip(ids, kept.tolist(), strict=True):
        own = (number, rows.file_names[row], rows.labels[row], rows.contents[row])
        checksum = row_checksum(own, fields, rows.values[row])
        records.append((*own, checksum, *rows.values[row]))
        checksums.append(checksum)
    connection.executemany(f"INSERT INTO images({names}) VALUES ({marks})", records)
    return checksums


def _without_duplicates(
    connection: sqlite3.Connection, state: IndexState, rows: PreparedRows, duplicates: Duplicates
) -> tuple[NDArray[np.int64], pd.DataFrame]:
    """Return the rows to add, and those whose image, by content and box, is in the index or earlier in the rows."""
    known: dict[Key, tuple[int, str | None]] = {}
    kept: list[int] = []
    skipped: list[tuple[int, str | None, int, str | None]] = []
    if duplicates == "skip":
        known = _known_images(connection, state.columns, [content for content in rows.contents if content])
    boxes = [place for place, column in enumerate(rows.columns) if column.name in BOX]
    names = [rows.columns[place].name for place in boxes]
    for row, (content, values) in enumerate(zip(rows.contents, rows.values, strict=True)):
        if content is not None and duplicates == "skip":
            key = _key(content, names, [values[place] for place in boxes])
            if key in known:
                skipped.append((row, rows.file_names[row], *known[key]))
                continue
            known[key] = state.last_id + 1 + len(kept), rows.labels[row]
        kept.append(row)
    frame = pd.DataFrame(skipped, columns=["row", "file_name", "id", "label"])
    return np.array(kept, np.int64), frame.fillna({"file_name": "", "label": ""})


def _known_images(
    connection: sqlite3.Connection, columns: Sequence[StoredColumn], contents: Sequence[str]
) -> dict[Key, tuple[int, str | None]]:
    """Return the id and label of the images of the index that have one of these contents, by content and box."""
    boxes = [column for column in columns if column.name in BOX]
    names, fields = [column.name for column in boxes], "".join(f", {column.field}" for column in boxes)
    known: dict[Key, tuple[int, str | None]] = {}
    for part in _parts(list(dict.fromkeys(contents))):
        marks = ", ".join("?" * len(part))
        query = f"SELECT id, label, content{fields} FROM images WHERE content IN ({marks}) ORDER BY id"
        for number, label, content, *box in connection.execute(query, part):
            known.setdefault(_key(content, names, box), (number, label))
    return known


def _key(content: str, names: Sequence[str], values: Sequence[Value]) -> Key:
    """Return what two rows of the same image share: its content and its box, None where there is none."""
    box = dict(zip(names, values, strict=True))
    return content, *(box.get(name) for name in BOX)


def _parts(items: list[Value] | list[str] | list[int]) -> Iterable[list[Value]]:
    return ([*items[first : first + PART]] for first in range(0, len(items), PART))
