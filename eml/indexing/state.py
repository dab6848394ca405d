"""The state of an index: what its tables hold at a generation, with a checksum of each fact."""

import json
import re
import sqlite3
import zlib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from eml.indexing.database import damaged

Kind = Literal["number", "text", "bool"]
MODULUS = 1 << 64
SEGMENT_NAME = r"segment-\d{8,20}-\d{4,20}\.seg"

SCHEMA = """
BEGIN;
CREATE TABLE facts(name TEXT PRIMARY KEY, value TEXT NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE images(id INTEGER PRIMARY KEY AUTOINCREMENT, file_name TEXT, label TEXT, content TEXT,
    checksum INTEGER NOT NULL);
CREATE INDEX images_by_content ON images(content) WHERE content IS NOT NULL;
CREATE TABLE embeddings(id INTEGER PRIMARY KEY, vector BLOB NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE removed(id INTEGER PRIMARY KEY);
COMMIT;
"""


@dataclass(frozen=True)
class SegmentRecord:
    """A file of embeddings under derived/: the images whose ids are from `first` to `last`, some of them removed.

    checksum: Of its ids and embeddings, so that the file of another index is not taken for it; None: not known.
    """

    name: str
    generation: int
    rows: int
    first: int
    last: int
    checksum: int | None = None


@dataclass(frozen=True)
class StoredColumn:
    """A column of the user's table: its name, the field of the table `images` that holds it, and its kind."""

    name: str
    field: str
    kind: Kind


@dataclass(frozen=True)
class IndexState:
    """The contents of the tables at a generation. Each change makes a new one, in its transaction.

    Attributes:
        generation: Number of changes.
        images: Number of images.
        images_sum: Sum of their checksums, modulo 2^64, by which a lost row is noticed.
        removed: Number of removed images that are still in segments.
        removed_sum: Sum of the mixed bits of their ids.
        last_id: The highest id that was ever given.
        schema: Checksum of the tables' definitions.
        removal: The generation that last removed images.
        erased: The generation up to which the bytes of removed images have been erased from all files.
        segments: The segments, by id.
        columns: The user's columns.
    """

    generation: int = 0
    images: int = 0
    images_sum: int = 0
    removed: int = 0
    removed_sum: int = 0
    last_id: int = 0
    schema: int = 0
    removal: int = 0
    erased: int = 0
    segments: tuple[SegmentRecord, ...] = ()
    columns: tuple[StoredColumn, ...] = field(default=())

    @property
    def is_to_erase(self) -> bool:
        """Whether bytes of removed images may still be in the files."""
        return self.removal > self.erased

    def next(self, **changes: Any) -> "IndexState":
        """Return the state of the next generation."""
        return replace(self, generation=self.generation + 1, **changes)

    def to_json(self) -> str:
        """Return the state as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "IndexState":
        """Return the state that `to_json` wrote.

        Raises:
            ValueError: It is another. The names of files and fields in it are used as they are, so none is trusted.
        """
        try:
            values = json.loads(text)
            values["segments"] = tuple(SegmentRecord(**record) for record in values["segments"])
            values["columns"] = tuple(StoredColumn(**column) for column in values["columns"])
            state = cls(**values)
            _check(state)
        except (TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(str(error)) from error
        return state


def _check(state: IndexState) -> None:
    """Raise a ValueError or TypeError for what `to_json` does not write."""
    numbers = [value for value in vars(state).values() if not isinstance(value, tuple)]
    for record in state.segments:
        numbers += [record.generation, record.rows, record.first, record.last, record.checksum or 0]
        if not re.fullmatch(SEGMENT_NAME, record.name, re.ASCII):
            raise ValueError(f"a segment has the name {record.name!r}")
    if not all(type(number) is int and 0 <= number < MODULUS for number in numbers):
        raise ValueError("a number is out of its range")
    for column in state.columns:
        if (
            not re.fullmatch("c[0-9]+", column.field)
            or column.kind not in get_args(Kind)
            or type(column.name) is not str
        ):
            raise ValueError(f"a column has the field {column.field!r}")


def read_object(connection: sqlite3.Connection, name: str, path: Path) -> dict[str, Any] | None:
    """Return the JSON object of a fact; None for null. Raises DataError if it is anything else, or damaged."""
    text = read_fact(connection, name, path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    if value is not None and not isinstance(value, dict):
        raise damaged(path, f"the fact {name!r} is not one that eml wrote")
    return value


def read_fact(connection: sqlite3.Connection, name: str, path: Path) -> str:
    """Return the text of a fact. Raises DataError if it is missing or its checksum does not fit."""
    row = connection.execute("SELECT value, checksum FROM facts WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise damaged(path, f"the fact {name!r} is missing")
    value, checksum = row
    if not isinstance(value, str) or checksum != fact_checksum(name, value):
        raise damaged(path, f"the checksum of the fact {name!r} does not fit")
    return value


def write_fact(connection: sqlite3.Connection, name: str, value: str) -> None:
    """Write the text of a fact, with its checksum."""
    row = (name, value, fact_checksum(name, value))
    connection.execute("INSERT OR REPLACE INTO facts(name, value, checksum) VALUES (?, ?, ?)", row)


def fact_checksum(name: str, value: str) -> int:
    """Return the checksum of a fact."""
    return zlib.crc32(f"{name}\n{value}".encode())


def read_state(connection: sqlite3.Connection, path: Path) -> IndexState:
    """Return the current state. Raises DataError if it is damaged, or the tables are not as it says."""
    text = read_fact(connection, "state", path)
    try:
        state = IndexState.from_json(text)
    except ValueError as error:
        raise damaged(path, f"its state is not one that eml wrote: {error}") from error
    if schema_checksum(connection) != state.schema:
        raise damaged(path, "the definitions of its tables are not those that eml wrote")
    return state


def write_state(connection: sqlite3.Connection, state: IndexState, path: Path) -> None:
    """Write the state, with the checksum of the tables as they are now.

    Raises:
        DataError: Its segments have not as many images as it says: some of their embeddings could not be read.
    """
    in_segments = sum(record.rows for record in state.segments) - state.removed
    if in_segments != state.images:
        raise damaged(path, f"it has {in_segments:,} embeddings of {state.images:,} images")
    write_fact(connection, "state", replace(state, schema=schema_checksum(connection)).to_json())


def schema_checksum(connection: sqlite3.Connection) -> int:
    """Return the checksum of the definitions of all tables."""
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name").fetchall()
    return zlib.crc32(json.dumps(rows).encode())


def ids_sum(ids: NDArray[np.int64]) -> int:
    """Return the sum of the mixed bits of ids, modulo 2^64, to which single ids can be added."""
    mixed = ids.astype(np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return int(np.sum(mixed ^ (mixed >> np.uint64(31)), dtype=np.uint64))


def read_removed(connection: sqlite3.Connection, state: IndexState, path: Path) -> NDArray[np.int64]:
    """Return the ids of removed images that are still in segments, ascending."""
    rows = connection.execute("SELECT id FROM removed ORDER BY id").fetchall()
    ids = np.array(rows, dtype=np.int64).reshape(-1)
    if len(ids) != state.removed or ids_sum(ids) != state.removed_sum:
        raise damaged(path, "the list of removed images is not the one that eml wrote")
    return ids
