"""Rows of the table of images: read by id with their checksums, chosen by a condition, a label or a file name."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from eml.config.text import did_you_mean
from eml.errors import DataError, Problem
from eml.indexing.condition_time import timed
from eml.indexing.database import DAMAGED_ADVICE, damaged
from eml.indexing.image_rows import OWN, Row, Value, row_checksum
from eml.indexing.state import MODULUS, IndexState

PART = 10_000  # ids bound to one statement, rows fetched at once
ALIKE = 10_000  # names among which one that was misspelt is looked for

Ids = NDArray[np.int64]


class RowFilter(Protocol):
    """A condition on rows: an SQL expression of the columns' names in double quotes, with a `?` for each value."""

    @property
    def sql(self) -> str:
        """The expression."""

    @property
    def parameters(self) -> tuple[Value, ...]:
        """The values, in the order of their `?`."""


def read_rows(connection: sqlite3.Connection, state: IndexState, folder: Path, ids: Ids) -> dict[int, Row]:
    """Return id → (id, file_name, label, content, values …), each checked.

    Raises:
        DataError: The index has no such image, or its row is damaged.
    """
    rows: dict[int, Row] = {}
    names = row_fields(state)
    numbers = np.unique(ids).tolist()
    for first in range(0, len(numbers), PART):
        part = numbers[first : first + PART]
        marks = ", ".join("?" * len(part))
        cursor = connection.execute(f"SELECT {names} FROM images WHERE id IN ({marks})", part)
        rows |= {int(row[0] or 0): row for row in checked(cursor, state, folder)}
    missing = [number for number in numbers if number not in rows]
    refuse_missing(connection, state, folder, missing)
    return rows


def refuse_missing(connection: sqlite3.Connection, state: IndexState, folder: Path, ids: Sequence[int]) -> None:
    """Raise a DataError for ids that the index does not have, or has lost."""
    if ids:
        check_all_rows(connection, state, folder, 0)
        lost = set(ids) - set(_unknown_ids(connection, np.array(ids, np.int64)))
        if lost:
            raise damaged(folder, f"the embeddings of {len(lost):,} images are not in its table, as of id {min(lost)}")
        listed = ", ".join(map(str, ids[:20])) + (" …" if len(ids) > 20 else "")
        raise DataError(f"{folder}: has no image with the id {listed}", code="unknown-image")


def all_rows(connection: sqlite3.Connection, state: IndexState, folder: Path, after: int = 0) -> Iterator[Row]:
    """Yield the checked rows of all images whose ids are above `after`, by id."""
    query = f"SELECT {row_fields(state)} FROM images NOT INDEXED WHERE id > ? ORDER BY id"
    yield from checked(connection.execute(query, (after,)), state, folder)


def checked(cursor: sqlite3.Cursor, state: IndexState, folder: Path) -> Iterator[Row]:
    """Yield rows of (id, checksum, file_name, label, content, values …) without the checksum.

    Raises:
        DataError: Rows are not as they were written; up to a hundred at once.
    """
    fields = [column.field for column in state.columns]
    width = 1 + len(OWN)
    while rows := cursor.fetchmany(PART):
        problems: list[str] = []
        for row in rows:
            own = (row[0], *row[2:width])
            if not is_intact(row, fields):
                problems.append(damaged_row(folder, row[0]))
                continue
            if not problems:
                yield (*own, *row[width:])
        if problems:
            raise DataError(problems[:100])


def is_intact(row: Sequence[Value], fields: Sequence[str]) -> bool:
    """Return whether a row of (id, checksum, file_name, label, content, values …) is as it was written."""
    width = 1 + len(OWN)
    if any(isinstance(value, bytes) for value in row):
        return False
    return row_checksum((row[0], *row[2:width]), fields, row[width:]) == row[1]


def damaged_row(folder: Path, number: object) -> Problem:
    """Return the problem of a row that is not as it was written."""
    text = f"{folder}: the row of image {number} is damaged: remove the image by its id and add it again"
    return Problem(f"{text}, or {DAMAGED_ADVICE}", "damaged-index")


def check_all_rows(connection: sqlite3.Connection, state: IndexState, folder: Path, after: int) -> int:
    """Check that no row is missing, and those whose ids are above `after`; return the id up to which all are checked.

    Raises:
        DataError: A row is damaged or missing.
    """
    check_sums(connection, state, folder)
    for _ in all_rows(connection, state, folder, after):
        pass
    return state.last_id


def check_sums(connection: sqlite3.Connection, state: IndexState, folder: Path) -> None:
    """Raise a DataError unless the table has the number of rows and the sum of checksums that the state says."""
    count, total = connection.execute("SELECT COUNT(*), SUM(checksum) FROM images NOT INDEXED").fetchone()
    if count != state.images or not isinstance(total, int | None) or (total or 0) % MODULUS != state.images_sum:
        raise damaged(folder, f"its table has {count:,} images, not the {state.images:,} that eml wrote")
    embeddings = connection.execute("SELECT COUNT(*) FROM embeddings").fetchone()[0]
    if embeddings != state.images:
        raise damaged(folder, f"it has {embeddings:,} embeddings of {state.images:,} images")


def matching(connection: sqlite3.Connection, state: IndexState, where: RowFilter) -> Ids:
    """Return the ids of the images that a condition is true of, ascending."""
    columns = ", ".join(
        [
            *(f'{name} AS "{name}"' for name in OWN),
            *(f"{column.field} AS {quoted(column.name)}" for column in state.columns),
        ]
    )
    query = f"SELECT id FROM (SELECT {columns} FROM images NOT INDEXED) WHERE {where.sql} ORDER BY id"
    with timed(connection):
        return np.array(connection.execute(query, where.parameters).fetchall(), np.int64).reshape(-1)


def choose(
    connection: sqlite3.Connection,
    state: IndexState,
    ids: Sequence[int] | Ids,
    texts: Mapping[str, Sequence[str]],
    where: RowFilter | None,
) -> Ids:
    """Return the ids of the images that have one of some ids, or one of the texts in a column, or fit a condition.

    Raises:
        DataError: There is no image of an id or a text; all of them are listed.
    """
    chosen = [np.array(ids, np.int64).reshape(-1)]
    missing = [f"id {number}" for number in _unknown_ids(connection, chosen[0])]
    for column, names in texts.items():
        if len(names):
            numbers, unknown = _ids_of(connection, column, list(map(str, names)))
            chosen.append(numbers)
            missing += _not_found(connection, column, unknown)
    if missing:
        more = f" and {len(missing) - 20:,} more" if len(missing) > 20 else ""
        text = f"the index has no image of {', '.join(missing[:20])}{more}; nothing is removed"
        raise DataError(text, code="unknown-image")
    if where is not None:
        chosen.append(matching(connection, state, where))
    return np.unique(np.concatenate(chosen))


def _not_found(connection: sqlite3.Connection, column: str, texts: Sequence[str]) -> list[str]:
    """Return the column and each text that no image has in it, with the one of the index that it is most like."""
    known: list[str] = []
    if texts:
        query = f"SELECT DISTINCT {column} FROM images WHERE {column} IS NOT NULL LIMIT {ALIKE}"
        known = [text for (text,) in connection.execute(query)]
    name = column.replace("_", " ")
    return [f"{name} {text!r}{did_you_mean(text, known) if row < 20 else ''}" for row, text in enumerate(texts)]


def _unknown_ids(connection: sqlite3.Connection, ids: Ids) -> list[int]:
    """Return the ids that no image has."""
    numbers, known = np.unique(ids).tolist(), set()
    for first in range(0, len(numbers), PART):
        part = numbers[first : first + PART]
        marks = ", ".join("?" * len(part))
        known |= {number for (number,) in connection.execute(f"SELECT id FROM images WHERE id IN ({marks})", part)}
    return [number for number in numbers if number not in known]


def _ids_of(connection: sqlite3.Connection, column: str, texts: Sequence[str]) -> tuple[Ids, list[str]]:
    """Return the ids of the images with one of these labels or file names, and the texts that no image has."""
    names = {text or None for text in texts}
    present: set[str | None] = set()
    ids: list[int] = []
    cursor = connection.execute(f"SELECT id, {column} FROM images NOT INDEXED ORDER BY id")
    while rows := cursor.fetchmany(PART):
        hits = [row for row in rows if row[1] in names]
        ids += [number for number, _ in hits]
        present |= {text for _, text in hits}
    return np.array(ids, np.int64), [text for text in dict.fromkeys(texts) if (text or None) not in present]


def quoted(name: str) -> str:
    """Return a column's name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def row_fields(state: IndexState) -> str:
    """Return the fields of a row and of its checksum, as SQL."""
    return ", ".join(["id", "checksum", "file_name", "label", "content", *(column.field for column in state.columns)])
