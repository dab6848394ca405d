"""Rows of the table `embeddings`: unit vectors with a checksum, and the segments that are made of them."""

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eml.errors import DataError, Problem
from eml.indexing.database import DAMAGED_ADVICE
from eml.indexing.segment_files import FOLDER, SEGMENT_ROWS, Numbers, segment_name, write_segment
from eml.indexing.state import SegmentRecord
from eml.retrieval.arrays import Embeddings, as_embeddings
from eml.retrieval.similarity import UNIT

MOST_LISTED = 5
PART = 10_000  # ids bound to one statement


def stored_vectors(embeddings: Embeddings, size: int, storage: str, names: Sequence[str | None]) -> Numbers:
    """Return embeddings (N, D) as they are stored: of length 1, in float32 or float16.

    Args:
        embeddings: Of any length but 0. Those of length 1, to within 1e-6, are stored as they are in float32.
        size: The embedding size D of the index.
        storage: float32 or float16.
        names: File name of each row, for errors.

    Raises:
        DataError: They are of another size, NaN, infinite or zero.
    """
    rows = as_embeddings(embeddings, "new").cpu()
    if rows.shape[1] != size:
        text = f"the index has embeddings of {size:,} numbers, got {tuple(rows.shape)}"
        raise DataError(text, code="wrong-shape")
    if len(rows) != len(names):
        raise DataError(f"{len(rows):,} embeddings and {len(names):,} rows of images", code="wrong-shape")
    output = np.empty(tuple(rows.shape), np.float32)
    bad: list[int] = []
    for first in range(0, len(rows), SEGMENT_ROWS):
        part = rows[first : first + SEGMENT_ROWS]
        exact = part.to(torch.float64).numpy()
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            largest = np.abs(exact).max(1, keepdims=True, initial=0)
            lengths = np.linalg.norm(exact / largest, axis=1, keepdims=True) * largest
            bad += (np.flatnonzero(~np.isfinite(lengths) | (lengths == 0)) + first).tolist()
            is_unit = np.abs(lengths - 1) < UNIT
            output[first : first + len(part)] = np.where(is_unit, exact, exact / largest / (lengths / largest))
    if bad:
        listed = "; ".join(f"row {row} ({names[row] or 'no file'})" for row in bad[:MOST_LISTED])
        text = f"{len(bad):,} of {len(rows):,} embeddings are NaN, infinite or zero: {listed}"
        raise DataError(text + (" …" if len(bad) > MOST_LISTED else ""), code="invalid-embeddings")
    return output.astype(np.float16) if storage == "float16" else output


def embedding_records(ids: Sequence[int], vectors: Numbers) -> Iterator[tuple[int, memoryview, int]]:
    """Yield the rows of the table: id, bytes, checksum."""
    little = np.ascontiguousarray(vectors.astype(vectors.dtype.newbyteorder("<"), copy=False))
    for number, row in zip(ids, little, strict=True):
        data = memoryview(row).cast("B")
        yield number, data, vector_checksum(number, data)


def vector_checksum(number: int, data: Any) -> int:
    """Return the checksum of an image's embedding, which is not that of another image."""
    return zlib.crc32(data, number & 0xFFFFFFFF)


def read_vectors(
    connection: sqlite3.Connection, path: Path, size: int, storage: str, first: int, last: int
) -> Iterator[tuple[NDArray[np.int64], Numbers]]:
    """Yield ids and vectors of the images whose ids are from `first` to `last`, at most a segment's rows at once."""
    cursor = connection.execute(
        "SELECT id, vector, checksum FROM embeddings WHERE id BETWEEN ? AND ? ORDER BY id", (first, last)
    )
    while rows := cursor.fetchmany(SEGMENT_ROWS):
        yield vectors_of(rows, path, size, storage)


def vectors_of(
    rows: Sequence[tuple[int, bytes, int]], path: Path, size: int, storage: str
) -> tuple[NDArray[np.int64], Numbers]:
    """Return ids (n,) and vectors (n, D) of rows of the table. Raises DataError for all that are damaged."""
    dtype = np.dtype(storage).newbyteorder("<")
    length = size * dtype.itemsize
    bad = [number for number, data, checksum in rows if not is_whole(number, data, checksum, length)]
    if bad:
        raise DataError([damaged_embedding(path, number) for number in bad[:100]])
    joined = np.frombuffer(b"".join(data for _, data, _ in rows), dtype).reshape(len(rows), size)
    return np.array([number for number, _, _ in rows], np.int64), joined


def read_embeddings(
    connection: sqlite3.Connection, path: Path, size: int, storage: str, ids: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Numbers]:
    """Return the ids, each once and ascending, and the vectors of the images among them that there are.

    Raises:
        DataError: An embedding is damaged.
    """
    numbers, rows = np.unique(ids), []
    for first in range(0, len(numbers), PART):
        part = numbers[first : first + PART].tolist()
        marks = ", ".join("?" * len(part))
        query = f"SELECT id, vector, checksum FROM embeddings WHERE id IN ({marks}) ORDER BY id"
        rows += connection.execute(query, part).fetchall()
    return vectors_of(rows, path, size, storage)


def is_whole(number: int, data: Any, checksum: Any, length: int) -> bool:
    """Return whether an embedding is as it was written."""
    return isinstance(data, bytes) and len(data) == length and vector_checksum(number, data) == checksum


def damaged_embedding(path: Path, number: int) -> Problem:
    """Return the problem of an embedding that is not as it was written."""
    text = f"{path}: the embedding of image {number} is damaged: remove the image by its id and add it again"
    return Problem(f"{text}, or {DAMAGED_ADVICE}", "damaged-index")


def write_segments(
    connection: sqlite3.Connection,
    folder: Path,
    generation: int,
    facts: tuple[int, str],
    ids: tuple[int, int],
) -> list[SegmentRecord]:
    """Write the segments of the images whose ids are from ids[0] to ids[1], and return their records.

    Args:
        connection: The database, in the transaction of a change.
        folder: The index.
        generation: The one that the transaction makes; no file has its name yet, or a killed writer's.
        facts: Embedding size and storage.
        ids: The first and last id.
    """
    records: list[SegmentRecord] = []
    for numbers, vectors in read_vectors(connection, folder, *facts, *ids):
        name = segment_name(generation, len(records))
        record = SegmentRecord(name, generation, len(numbers), int(numbers[0]), int(numbers[-1]))
        records.append(write_segment(folder / FOLDER / name, record, numbers, vectors))
    return records
