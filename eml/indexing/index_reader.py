"""An index's folder as its readers see it: rows, embeddings and search at the newest generation."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from eml.errors import ConfigError
from eml.indexing.database import PATIENCE, Database, damaged, local_index
from eml.indexing.embedding_rows import read_embeddings
from eml.indexing.fingerprints import check_same_model, fingerprint_facts
from eml.indexing.graphs import SegmentGraphs
from eml.indexing.image_rows import OWN, Value, to_frame
from eml.indexing.reading import RowFilter, all_rows, check_all_rows, matching, read_rows, refuse_missing
from eml.indexing.segment_files import DamagedSegmentError
from eml.indexing.state import IndexState, Kind, read_fact, read_object, read_state
from eml.indexing.store_info import StoreInfo, folder_bytes
from eml.indexing.view import IndexView
from eml.indexing.view_loader import ViewLoader
from eml.indexing.view_search import StoredNeighbours, check_count, query_rows, search_view
from eml.progress import Report
from eml.retrieval.arrays import Embeddings

Storage = Literal["float32", "float16"]
LARGEST_SIZE = 1 << 24  # numbers of an embedding
SearchEngine = Literal["exact", "usearch", "faiss"]

Ids = NDArray[np.int64]


class IndexReader:
    """An index that is open for reading. Several processes can have it open, and several threads.

    Each call sees the newest generation; `snapshot` gives several calls the same one.

    Args:
        folder: The index; one at an address is fetched whole, and cannot be changed.
        report: Called with a line when a writer has to wait for another one, or a damaged file has been made again.
        patience: Seconds that a writer waits for the others.

    Raises:
        DataError: The folder is no index, is damaged, or was written by a newer eml.
    """

    def __init__(self, folder: str | Path, *, report: Report | None = None, patience: float = PATIENCE) -> None:
        self.folder = local_index(folder)
        self.database = Database(self.folder, report, patience)
        with self.database.read() as connection:
            facts = read_object(connection, "index", self.folder) or {}
            self.size, self.storage = self.read_sizes(connection, self.folder)
            self.fingerprint: dict[str, Any] = read_object(connection, "fingerprint", self.folder) or {}
        self.created = str(facts.get("created", ""))
        self.eml_version = str(facts.get("eml_version", ""))
        self.views = ViewLoader(self.database, self.size, self.storage)
        self.graphs = SegmentGraphs(self.database)
        self._checked = 0
        self.views.load()

    @staticmethod
    def read_sizes(connection: sqlite3.Connection, folder: Path) -> tuple[int, Storage]:
        """Return the embedding size and how the numbers are stored."""
        facts = read_object(connection, "index", folder) or {}
        size = facts.get("size")
        storage: Storage = facts.get("storage", "")
        if type(size) is not int or not 0 < size < LARGEST_SIZE or storage not in get_args(Storage):
            raise damaged(folder, "the embedding size and the storage are not those that eml writes")
        return size, storage

    @classmethod
    def open(cls, folder: str | Path, *, report: Report | None = None, patience: float = PATIENCE) -> Self:
        """Open an index; names, sizes and headers of its files are checked. See the class."""
        return cls(folder, report=report, patience=patience)

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.folder)!r}, size={self.size}, storage={self.storage!r})"

    def __len__(self) -> int:
        return self._state().images

    @property
    def generation(self) -> int:
        """The number of changes since the index was made."""
        return self._state().generation

    @property
    def columns(self) -> dict[str, Kind]:
        """The columns that a condition can name, and what each holds."""
        return OWN | {column.name: column.kind for column in self._state().columns}

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all calls in the block see the same generation. No change can be made in it."""
        with self.database.read():
            yield

    def check_fingerprint(self, fingerprint: object) -> None:
        """Raise a DataError unless embeddings of a model can be compared with those of the index."""
        check_same_model(self.folder, self.fingerprint, fingerprint_facts(fingerprint))

    def search(
        self,
        queries: Embeddings,
        k: int,
        where: RowFilter | None = None,
        engine: SearchEngine = "exact",
        fingerprint: object = None,
    ) -> StoredNeighbours:
        """Return the k images of the highest cosine for each query, equal ones by id.

        Args:
            queries: (Q, D) embeddings, of any length but 0.
            k: Neighbours of each query.
            where: The images to search among; with `exact` the neighbours are exactly the nearest of these.
            engine: `exact`, or a faster one, which may miss neighbours; their cosines are exact. Its graphs of the
                segments are built in the first search, and kept under derived/.
            fingerprint: Facts of the model that made the queries; None does without a check.

        Raises:
            DataError: The queries do not fit the index, or the index is damaged.
            ConfigError: The engine is unknown, or its package is not installed.
        """
        check_count(k)
        if engine not in get_args(SearchEngine):
            text = f"unknown engine {engine!r}; there are: {', '.join(get_args(SearchEngine))}"
            raise ConfigError(text, code="unknown-choice", parameter="engine")
        if fingerprint is not None:
            self.check_fingerprint(fingerprint)
        rows = query_rows(queries, self.size)

        def answer() -> StoredNeighbours:
            view = self._view(where)
            graphs = None if engine == "exact" else self.graphs.of(engine, view.segments)
            return search_view(view, rows, k, graphs)

        return self.views.answer(answer)

    def tiles(self, where: RowFilter | None = None) -> Iterator[tuple[Ids, Tensor]]:
        """Yield ids (G,) and unit vectors (G, D) in float32 of all images, by id, in bounded memory."""
        view = self.views.answer(lambda: self._view(where))
        after = 0
        while True:
            try:
                for ids, vectors in view.tiles(after):
                    yield ids, vectors
                    after = int(ids[-1])
                return
            except DamagedSegmentError as error:
                self.views.mend(error)
                view = self.views.answer(lambda: self._view(where))

    def ids(self, where: RowFilter | None = None) -> Ids:
        """Return the ids of all images, or of those that fit a condition, ascending."""
        return self.views.answer(lambda: self._view(where).ids())

    def rows(self, ids: Sequence[int] | Ids | None = None) -> pd.DataFrame:
        """Return the rows of images in the order of their ids (n,), or all: `id`, `file_name`, `label`, `content`, ….

        Missing texts of these three are "".

        Raises:
            DataError: The index has no such image, or a row is damaged.
        """
        with self.database.read() as connection:
            state = read_state(connection, self.folder)
            if ids is None:
                return to_frame(list(all_rows(connection, state, self.folder)), state.columns)
            numbers = np.array(ids, np.int64).reshape(-1)
            rows = read_rows(connection, state, self.folder, numbers)
            return to_frame([rows[number] for number in numbers.tolist()], state.columns)

    def records(self, ids: Ids) -> list[dict[str, Value]]:
        """Return what `rows` does, without a frame, which takes milliseconds to make: None is a missing value."""
        with self.database.read() as connection:
            state = read_state(connection, self.folder)
            rows = read_rows(connection, state, self.folder, ids)
        names = (*OWN, *(column.name for column in state.columns))
        return [dict(zip(names, rows[number], strict=True)) for number in ids.tolist()]

    def labels(self, ids: Sequence[int] | Ids) -> NDArray[np.object_]:
        """Return the labels of ids of any shape, "" for none and for id −1. Raises as `rows`."""
        numbers = np.array(ids, np.int64)
        with self.database.read() as connection:
            state = read_state(connection, self.folder)
            rows = read_rows(connection, state, self.folder, numbers[numbers != -1])
        labels = [rows[number][2] or "" if number != -1 else "" for number in numbers.reshape(-1).tolist()]
        return np.array([*labels, None], object)[:-1].reshape(numbers.shape)

    def embeddings(self, ids: Sequence[int] | Ids) -> NDArray[np.float32]:
        """Return the embeddings (n, D) of images, of length 1. Raises as `rows`."""
        numbers = np.array(ids, np.int64).reshape(-1)
        with self.database.read() as connection:
            order, vectors = read_embeddings(connection, self.folder, self.size, self.storage, numbers)
            missing = np.setdiff1d(numbers, order).tolist()
            refuse_missing(connection, read_state(connection, self.folder), self.folder, missing)
        chosen = vectors[np.searchsorted(order, numbers)].astype(np.float32)
        return chosen if self.storage == "float32" else chosen / np.linalg.norm(chosen, axis=1, keepdims=True)

    def info(self) -> StoreInfo:
        """Return the facts of the index."""
        with self.database.read() as connection:
            state = read_state(connection, self.folder)
            classes = connection.execute("SELECT COUNT(DISTINCT label) FROM images").fetchone()[0]
            is_calibrated = read_fact(connection, "calibration", self.folder) != "null"
        own, derived = folder_bytes(self.folder)
        return StoreInfo(
            images=state.images,
            classes=classes,
            size=self.size,
            storage=self.storage,
            generation=state.generation,
            created=self.created,
            eml_version=self.eml_version,
            columns=OWN | {column.name: column.kind for column in state.columns},
            segments=len(state.segments),
            removed=state.removed,
            is_to_erase=state.is_to_erase,
            is_calibrated=is_calibrated,
            bytes=own,
            derived_bytes=derived,
            fingerprint=self.fingerprint,
        )

    def _state(self) -> IndexState:
        with self.database.read() as connection:
            return read_state(connection, self.folder)

    def _view(self, where: RowFilter | None) -> IndexView:
        """Return the view of the newest generation, or of the images of it that fit a condition."""
        view = self.views.load()
        if where is None:
            return view
        with self.database.read() as connection:
            view = self.views.load()  # of the same moment as the condition
            state = read_state(connection, self.folder)
            self._checked = check_all_rows(connection, state, self.folder, self._checked)
            return view.only(matching(connection, state, where))
