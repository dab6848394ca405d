"""A check of all that an index holds, and the repair of what is made from its database."""

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from eml.errors import DataError, EmlError
from eml.indexing.changes import delete_orphans, orphans
from eml.indexing.database import NAME, Database
from eml.indexing.embedding_rows import damaged_embedding, is_whole, read_vectors
from eml.indexing.graphs import damaged_graphs
from eml.indexing.index_reader import IndexReader
from eml.indexing.reading import check_sums, damaged_row, is_intact, row_fields
from eml.indexing.segment_files import FOLDER, DamagedSegmentError, open_segment
from eml.indexing.state import IndexState, SegmentRecord, read_fact, read_removed, read_state
from eml.indexing.view_loader import rewrite_segment
from eml.progress import Report

FACTS = ("index", "fingerprint", "calibration", "state")
MOST_LISTED = 100  # problems of a kind


@dataclass(frozen=True)
class IndexProblem:
    """A problem of an index.

    Attributes:
        code: damaged-index, damaged-file (under derived/), left-over (a file there that belongs to nothing), or the
            code of the error by which the index cannot be opened.
        place: The file.
        text: The problem in a sentence.
        is_repairable: Whether it is in what is made from the database.
        is_repaired: Whether it has been mended.
        record: The segment that it is in.
    """

    code: str
    place: str
    text: str
    is_repairable: bool = False
    is_repaired: bool = False
    record: SegmentRecord | None = None


def verify_index(folder: Path, *, repair: bool = False, report: Report | None = None) -> list[IndexProblem]:
    """Check all of an index and return its problems; see `IndexStore.verify`."""
    database = Database(folder, report)
    try:
        with database.read() as connection:
            problems = list(_problems(connection, folder))
        if repair and any(problem.is_repairable for problem in problems):
            problems = [_repaired(database, problem) for problem in problems]
    except EmlError as error:
        problems = [IndexProblem(problem.code, NAME, str(problem)) for problem in error.problems]
    finally:
        database.close()
    return problems


def _problems(connection: sqlite3.Connection, folder: Path) -> Iterator[IndexProblem]:
    """Yield the problems of the database, then those of the segments if its state can be read."""
    yield from _guarded(lambda: _integrity(connection))
    for name in FACTS:
        yield from _guarded(lambda name=name: _raising(read_fact, connection, name, folder))  # type: ignore[misc]
    try:
        state = read_state(connection, folder)
        size, storage = IndexReader.read_sizes(connection, folder)
    except (EmlError, sqlite3.Error, ValueError, KeyError, TypeError):
        yield IndexProblem("damaged-index", NAME, "the state cannot be read, so that nothing else can be checked")
        return
    yield from _guarded(lambda: _raising(check_sums, connection, state, folder))
    yield from _guarded(lambda: _raising(read_removed, connection, state, folder))
    yield from _guarded(lambda: _row_problems(connection, state, folder))
    yield from _guarded(lambda: _embedding_problems(connection, folder, size, storage))
    for record in state.segments:
        yield from _guarded(lambda record=record: _segment_problems(connection, folder, (size, storage), record))  # type: ignore[misc]
    for path in orphans(folder, state.segments):
        yield IndexProblem("left-over", f"{FOLDER}/{path.name}", "belongs to no segment", is_repairable=True)


def _guarded(check: Callable[[], Iterator[IndexProblem]]) -> Iterator[IndexProblem]:
    """Yield the problems of a check, and the error that ends it as one more."""
    try:
        yield from check()
    except EmlError as error:
        yield from (IndexProblem(problem.code, NAME, str(problem)) for problem in error.problems)
    except sqlite3.Error as error:
        yield IndexProblem("damaged-index", NAME, f"cannot be read: {error}")


def _raising(function: Callable[..., object], *arguments: object) -> Iterator[IndexProblem]:
    """Call a function that raises a DataError for a problem; yield nothing."""
    function(*arguments)
    yield from ()


def _integrity(connection: sqlite3.Connection) -> Iterator[IndexProblem]:
    for (line,) in connection.execute(f"PRAGMA integrity_check({MOST_LISTED})"):
        if line != "ok":
            yield IndexProblem("damaged-index", NAME, str(line).replace("\n", " "))


def _row_problems(connection: sqlite3.Connection, state: IndexState, folder: Path) -> Iterator[IndexProblem]:
    """Yield the rows that are not as they were written."""
    fields, count = [column.field for column in state.columns], 0
    for row in connection.execute(f"SELECT {row_fields(state)} FROM images NOT INDEXED ORDER BY id"):
        if not is_intact(row, fields):
            count += 1
            if count <= MOST_LISTED:
                yield IndexProblem("damaged-index", NAME, damaged_row(folder, row[0]))


def _embedding_problems(
    connection: sqlite3.Connection, folder: Path, size: int, storage: str
) -> Iterator[IndexProblem]:
    """Yield the embeddings that are not as they were written, or have no row, and the rows without one."""
    length, count = size * np.dtype(storage).itemsize, 0
    for number, data, checksum in connection.execute("SELECT id, vector, checksum FROM embeddings ORDER BY id"):
        if not is_whole(number, data, checksum, length):
            count += 1
            if count <= MOST_LISTED:
                yield IndexProblem("damaged-index", NAME, damaged_embedding(folder, number))
    for table, partner, text in (
        ("images", "embeddings", "no embedding"),
        ("embeddings", "images", "an embedding alone"),
    ):
        query = f"SELECT id FROM {table} WHERE id NOT IN (SELECT id FROM {partner}) LIMIT {MOST_LISTED}"
        for (number,) in connection.execute(query).fetchall():
            yield IndexProblem("damaged-index", NAME, f"image {number} has {text}")


def _segment_problems(
    connection: sqlite3.Connection, folder: Path, facts: tuple[int, str], record: SegmentRecord
) -> Iterator[IndexProblem]:
    """Yield the problem of a segment, damaged or not what the database holds; else those of its graphs."""
    try:
        segment = open_segment(folder / FOLDER, record, *facts)
        ids, reason = segment.checked_ids(), ""
        segment.check(0, record.rows)
    except DamagedSegmentError as error:
        yield _of_segment(record, error.reason)
        return
    places = np.zeros(0, np.int64)
    for numbers, vectors in read_vectors(connection, folder, *facts, record.first, record.last):
        part = np.minimum(np.searchsorted(ids, numbers), len(ids) - 1)
        if not (ids[part] == numbers).all():
            reason = "it lacks images of the database"
        elif not (segment.vectors[part].view(np.uint8) == vectors.view(np.uint8)).all():
            reason = "its embeddings are not those of the database"
        places = np.concatenate([places, part])
    gone = np.delete(ids, places)
    rows = connection.execute("SELECT id FROM removed WHERE id BETWEEN ? AND ?", (record.first, record.last))
    if not reason and gone.tolist() != sorted(number for (number,) in rows):
        reason = "it has images that the database has not"
    if reason:
        yield _of_segment(record, reason)
        return
    for path in damaged_graphs(folder, segment):
        text = "is not the graph that eml wrote for these embeddings; without it, it is built again when it is used"
        yield IndexProblem("damaged-file", f"{FOLDER}/{path.name}", text, is_repairable=True)


def _of_segment(record: SegmentRecord, reason: str) -> IndexProblem:
    return IndexProblem("damaged-file", f"{FOLDER}/{record.name}", reason, is_repairable=True, record=record)


def _repaired(database: Database, problem: IndexProblem) -> IndexProblem:
    """Mend what is made from the database; return the problem, repaired where that could be done."""
    if not problem.is_repairable:
        return problem
    try:
        with database.read() as connection:
            facts = IndexReader.read_sizes(connection, database.folder)
        if problem.record is not None:
            rewrite_segment(database, facts, problem.record)
        else:
            with database.write() as connection:
                if problem.code == "damaged-file":
                    (database.folder / problem.place).unlink(missing_ok=True)
                delete_orphans(database.folder, read_state(connection, database.folder).segments)
    except DataError:
        return problem
    return replace(problem, is_repaired=True)
