"""The graphs of an index's segments: files under derived/, checked whole before use, and the search through them.

A file begins with `EMLGRPH1`, the length of the JSON that follows, and the CRC-32 of it. The JSON says of which segment
and by which engine the graph is, and has the digest of the rest, which is the engine's own format. A graph only
proposes candidates: their cosines are computed from the stored embeddings.
"""

import json
import math
import struct
import threading
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eml.errors import DataError, OutputError
from eml.files import bytes_digest, refuse_pipe, whole_file
from eml.indexing.database import Database
from eml.indexing.engines.base import Graph, GraphEngine
from eml.indexing.engines.faiss import FaissEngine
from eml.indexing.engines.usearch import UsearchEngine
from eml.indexing.segment_files import FOLDER, SEGMENT_ROWS, Segment
from eml.indexing.state import SegmentRecord, read_state
from eml.indexing.view import IndexView, ViewGallery
from eml.retrieval.search import CandidateSearch, Selector, select_in_tiles
from eml.threads import cores

ApproximateEngine = Literal["usearch", "faiss"]
ENGINES: dict[ApproximateEngine, type[GraphEngine]] = {"usearch": UsearchEngine, "faiss": FaissEngine}
GRAPH_ROWS = SEGMENT_ROWS // 4  # rows of a segment from which on a graph is faster than comparing all
FEW = 0.1  # share of a segment's rows that are searched, below which all of them are compared
SPARE = 1.5  # times as many rows are asked for as should suffice where some are left out
MAGIC, HEAD = b"EMLGRPH1", struct.Struct("<II")
SAMPLE = 64  # rows of a segment whose checksum says that a graph is of these embeddings

WAITING = 5.0  # seconds that a graph waits for writers of the index before it does without being kept


class SegmentGraphs:
    """The graphs of an index's segments, opened or built when they are first needed, and kept between searches."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._graphs: dict[tuple[str, str], Graph] = {}
        self._threads = threading.Lock()

    def of(self, name: ApproximateEngine, segments: Sequence[Segment]) -> list[Graph | None]:
        """Return the graph of each segment for an engine, None for a segment that is too small to have one.

        Raises:
            ConfigError: The engine's package is not installed.
        """
        engine = ENGINES[name]()
        engine.library()
        names = {segment.record.name for segment in segments}
        with self._threads:
            self._graphs = {key: graph for key, graph in self._graphs.items() if key[1] in names}
            for segment in segments:
                key = name, segment.record.name
                if segment.record.rows >= GRAPH_ROWS and key not in self._graphs:
                    graph = read_graph(self.database.folder, segment, engine)
                    self._graphs[key] = graph or self._build(segment, engine)
            return [self._graphs.get((name, segment.record.name)) for segment in segments]

    def _build(self, segment: Segment, engine: GraphEngine) -> Graph:
        record = segment.record
        self._tell(f"building the graph of {engine.name} for images {record.first:,} to {record.last:,}")
        segment.check(0, record.rows)
        vectors = np.asarray(segment.vectors, np.float32)
        if segment.vectors.dtype != np.float32:
            vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        data = bytes(engine.build(vectors, cores()))
        try:
            self._keep(segment, engine, data)
        except (OutputError, DataError) as error:
            if error.code not in ("not-writable", "disk-full", "index-is-locked"):
                raise
            self._tell(f"the graph of {engine.name} is not kept: {error}")
        return engine.open(memoryview(data))

    def _keep(self, segment: Segment, engine: GraphEngine, data: bytes) -> None:
        """Write a graph's file while nobody else writes, unless the segment is no part of the index any more.

        So it never brings back what `compact` has erased.
        """
        if self.database.is_reading:  # within a block that sees one moment, in which nothing is written
            return
        patience, self.database.patience = self.database.patience, WAITING
        try:
            with self.database.write() as connection:
                if segment.record in read_state(connection, self.database.folder).segments:
                    write_graph(self.database.folder, segment, engine, data)
        finally:
            self.database.patience = patience

    def _tell(self, text: str) -> None:
        if self.database.report:
            self.database.report(f"{self.database.folder}: {text}")


def graph_path(folder: Path, record: SegmentRecord, engine: str) -> Path:
    """Return the file of a segment's graph; its name begins with the segment's, and it is deleted with it."""
    return folder / FOLDER / f"{record.name}.{engine}"


def write_graph(folder: Path, segment: Segment, engine: GraphEngine, data: bytes) -> None:
    """Write a graph's file, whole or not at all."""
    header = _facts(segment, engine) | {"bytes": len(data), "digest": bytes_digest(data)}
    text = json.dumps(header).encode()
    with whole_file(graph_path(folder, segment.record, engine.name)) as temporary, temporary.open("wb") as file:
        file.write(MAGIC + HEAD.pack(len(text), zlib.crc32(text)) + text)
        file.write(data)


def read_graph(folder: Path, segment: Segment, engine: GraphEngine) -> Graph | None:
    """Return a segment's graph, None if its file is missing, of another segment or version, or changed anywhere.

    The bytes that were checked are those that are used: packages crash on, or answer from, a file that was changed.
    """
    content = _read(graph_path(folder, segment.record, engine.name))
    if content is None or content[0] != _facts(segment, engine):
        return None
    return engine.open(content[1])


def damaged_graphs(folder: Path, segment: Segment) -> list[Path]:
    """Return the files of a segment's graphs that are not as they were written, or are of other embeddings.

    One of another version of its package is none of them; it is built again when it is used.
    """
    own = _segment_facts(segment)
    paths = [path for name in ENGINES if (path := graph_path(folder, segment.record, name)).exists()]
    contents = {path: _read(path) for path in paths}
    return [path for path, content in contents.items() if content is None or not own.items() <= content[0].items()]


def _read(path: Path) -> tuple[dict[str, Any], memoryview] | None:
    """Return the facts and the graph of a file, None if it is missing or not as it was written."""
    try:
        refuse_pipe(path)
        data = path.read_bytes()
    except OSError:
        return None
    start = len(MAGIC) + HEAD.size
    if len(data) < start or data[: len(MAGIC)] != MAGIC:
        return None
    length, checksum = HEAD.unpack_from(data, len(MAGIC))
    text, body = data[start : start + length], data[start + length :]
    if len(text) != length or zlib.crc32(text) != checksum:
        return None
    facts: dict[str, Any] = json.loads(text)
    is_whole = facts.pop("bytes", None) == len(body) and facts.pop("digest", None) == bytes_digest(body)
    return (facts, memoryview(body)) if is_whole else None


def _facts(segment: Segment, engine: GraphEngine) -> dict[str, Any]:
    """Return what must be equal for a graph to be that of a segment by an engine."""
    own = {"engine": engine.name, "version": engine.library_version(), "settings": engine.settings}
    return _segment_facts(segment) | own


def _segment_facts(segment: Segment) -> dict[str, Any]:
    rows = np.linspace(0, segment.record.rows - 1, SAMPLE).astype(np.int64)
    segment.check_rows(rows)
    return {
        "format": 1,
        "segment": asdict(segment.record),
        "size": segment.vectors.shape[1],
        "dtype": segment.vectors.dtype.name,
        "sample": zlib.crc32(segment.vectors[rows].tobytes()),
    }


def graph_search(gallery: ViewGallery, graphs: Sequence[Graph | None], k: int) -> CandidateSearch:
    """Return the search for candidates through graphs; segments without one are compared whole.

    It is taken as complete wherever it finds k images; where it finds fewer, the caller's next search follows.
    """
    return CandidateSearch(_selector(gallery, graphs), min(len(gallery), 2 * k + 16), -math.inf)


def _selector(gallery: ViewGallery, graphs: Sequence[Graph | None]) -> Selector:
    view = gallery.view
    offsets = np.cumsum([0, *(segment.record.rows for segment in view.segments)]).tolist()
    parts = [*zip(view.segments, view.alive, graphs, offsets, strict=False)]

    def select(queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
        values, rows = torch.full((len(queries), count), -torch.inf), torch.full((len(queries), count), -1)
        for segment, alive, graph, offset in parts:
            best, places = _best(_SegmentSearch(segment, alive, graph, gallery.size), queries, count)
            places = torch.where(places < 0, -1, places + offset)
            values, rows = torch.cat([values, best], 1), torch.cat([rows, places], 1)
            values, order = values.topk(count, dim=1)
            rows = rows.gather(1, order)
        return values, rows

    return select


class _SegmentSearch:
    """A segment in a search: which of its rows are searched, and its graph."""

    def __init__(self, segment: Segment, alive: NDArray[np.bool_] | None, graph: Graph | None, size: int) -> None:
        self.segment, self.alive, self.size = segment, alive, size
        self.rows = segment.record.rows
        self.left = self.rows if alive is None else int(alive.sum())
        self.graph = graph if self.left > FEW * self.rows else None

    def compare(self, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return (T, n) cosines and rows of the most similar images, of all that are searched."""
        gallery = ViewGallery(IndexView((self.segment,), (self.alive,)), self.size)
        return select_in_tiles(gallery, torch.float32)(queries, count)


def _best(part: _SegmentSearch, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return (T, n) cosines and rows of the most similar images of a segment; −inf and −1 where there are fewer."""
    most = min(count, part.left)
    if part.graph is None or not most:
        return part.compare(queries, count)
    candidates = most if part.alive is None else min(part.rows, math.ceil(SPARE * most * part.rows / part.left) + 8)
    cosines, rows = part.graph.search(queries.float().numpy(), candidates, torch.get_num_threads())
    if part.alive is not None:
        cosines[(rows < 0) | ~part.alive[rows]] = -np.inf
    values, places = torch.from_numpy(cosines), torch.from_numpy(rows)
    values, order = values.topk(most, dim=1)
    places = places.gather(1, order).masked_fill(values == -torch.inf, -1)
    short = torch.nonzero(values[:, -1] == -torch.inf).flatten()
    if len(short):
        values[short], places[short] = part.compare(queries[short], most)
    return values, places
