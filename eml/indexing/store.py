"""An index's folder: images and embeddings that are added and removed, and exact search, without models and files."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from eml.errors import ConfigError, OutputError
from eml.files import whole_folder
from eml.indexing.changes import (
    AddedImages,
    Duplicates,
    IndexChange,
    add_images,
    delete_orphans,
    delete_segment,
    remove_images,
)
from eml.indexing.checks import IndexProblem, verify_index
from eml.indexing.compaction import CompactedIndex, erase, merge_segments
from eml.indexing.database import NAME, Database, create_database
from eml.indexing.embedding_rows import stored_vectors
from eml.indexing.fingerprints import fingerprint_facts
from eml.indexing.image_rows import prepare_rows
from eml.indexing.index_reader import Ids, IndexReader, Storage
from eml.indexing.reading import RowFilter, choose
from eml.indexing.segment_files import FOLDER
from eml.indexing.state import SCHEMA, IndexState, read_object, read_state, write_fact, write_state
from eml.progress import Report
from eml.retrieval.arrays import Embeddings
from eml.versions import eml_version


class IndexStore(IndexReader):
    """An index that is open for reading and for changes, see `IndexReader`.

    Each change is one transaction: a process that is killed leaves the generation before it or the one after it.
    Writers of several processes wait for each other.
    """

    @classmethod
    def create(
        cls,
        folder: str | Path,
        *,
        size: int,
        fingerprint: object = None,
        storage: Storage = "float32",
        calibration: Mapping[str, Any] | None = None,
        report: Report | None = None,
    ) -> "IndexStore":
        """Make an empty index and open it.

        Args:
            folder: A folder that is not there yet, or is empty.
            size: The embedding size D.
            fingerprint: Facts of the model that makes the embeddings, a mapping or a model with `digest`; None where
                the embeddings come from elsewhere.
            storage: float32, or float16: half the bytes, and cosines to some 3 digits.
            calibration: Any JSON.
            report: See `IndexReader`.

        Raises:
            OutputError: The folder is not empty or not writable, or locks do not work there.
            ConfigError: The size is below 1, or the storage unknown.
        """
        folder = Path(folder)
        _check_new(folder, size, storage)
        facts = {
            "size": size,
            "storage": storage,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "eml_version": eml_version(),
        }
        with whole_folder(folder) as temporary:
            create_database(temporary, SCHEMA)
            (temporary / FOLDER).mkdir()
            database = Database(temporary)
            with database.write() as connection:
                write_fact(connection, "index", json.dumps(facts))
                write_fact(connection, "fingerprint", json.dumps(fingerprint_facts(fingerprint)))
                write_fact(connection, "calibration", json.dumps(calibration))
                write_state(connection, IndexState(), folder)
            database.close()
        return cls(folder, report=report)

    @property
    def calibration(self) -> dict[str, Any] | None:
        """The calibration, any JSON object; None where there is none."""
        with self.database.read() as connection:
            return read_object(connection, "calibration", self.folder)

    @calibration.setter
    def calibration(self, value: Mapping[str, Any] | None) -> None:
        with self.database.write() as connection:
            write_fact(connection, "calibration", json.dumps(value, allow_nan=False))
            write_state(connection, read_state(connection, self.folder).next(), self.folder)

    def add(
        self,
        embeddings: Embeddings,
        rows: pd.DataFrame | None = None,
        duplicates: Duplicates = "skip",
        fingerprint: object = None,
    ) -> AddedImages:
        """Add images, as one change.

        Args:
            embeddings: (N, D), of any length but 0.
            rows: N rows with any of the columns `file_name`, `label`, `content` (hash of the file's content) and any
                others, which conditions can name; None for embeddings without images.
            duplicates: What to do with an image whose content, and box, is in the index or earlier in the rows: `skip`
                or `keep`. Without `content` it is added.
            fingerprint: Facts of the model that made the embeddings; None does without a check.

        Raises:
            DataError: Embeddings or columns do not fit the index, or the model is another one; nothing is added.
        """
        if duplicates not in get_args(Duplicates):
            text = f"duplicates must be skip or keep, got {duplicates!r}"
            raise ConfigError(text, code="unknown-choice", parameter="duplicates")
        if fingerprint is not None:
            self.check_fingerprint(fingerprint)
        rows = pd.DataFrame(index=range(len(embeddings))) if rows is None else rows
        names = rows["file_name"].tolist() if "file_name" in rows else [None] * len(rows)
        vectors = stored_vectors(embeddings, self.size, self.storage, names)
        with self._change() as (change, state):
            return add_images(change, state, vectors, prepare_rows(rows, state.columns), duplicates)

    def remove(
        self,
        *,
        labels: Sequence[str] = (),
        file_names: Sequence[str] = (),
        ids: Sequence[int] | Ids = (),
        where: RowFilter | None = None,
    ) -> int:
        """Remove the images that have one of the labels, file names or ids, or fit a condition; return how many.

        They are in no answer from then on. `compact` erases their bytes.

        Raises:
            DataError: The index has no image of a label, file name or id; nothing is removed.
        """
        with self._change() as (change, state):
            numbers = choose(change.connection, state, ids, {"label": labels, "file_name": file_names}, where)
            if len(numbers):
                remove_images(change, state, numbers)
            return len(numbers)

    def compact(self) -> CompactedIndex:
        """Write segments without the images that have been removed, and erase these from all files of the index."""
        with self._change() as (change, state):
            merge_segments(change, state)
        with self._change():
            pass  # deletes what a killed writer has left
        return erase(self.database, state)

    def verify(self, repair: bool = False) -> list[IndexProblem]:
        """Check all of the index: each checksum, the database, and the segments against it.

        Args:
            repair: Make damaged files under derived/ again, and delete what does not belong there.

        Returns:
            The problems; none for an index that is whole.
        """
        return verify_index(self.folder, repair=repair, report=self.database.report)

    @contextmanager
    def _change(self) -> Iterator[tuple[IndexChange, IndexState]]:
        """Yield a transaction of the only writer and the state before it; then delete the files that it replaced."""
        with self.database.write() as connection:
            state = read_state(connection, self.folder)
            delete_orphans(self.folder, state.segments)
            yield IndexChange(connection, self.folder, self.size, self.storage), state
            after = read_state(connection, self.folder).segments
        for record in set(state.segments) - set(after):
            delete_segment(self.folder, record)


def _check_new(folder: Path, size: int, storage: str) -> None:
    """Raise unless an index can be made in a folder."""
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise ConfigError(f"the embedding size must be a whole number from 1, got {size!r}", code="out-of-range")
    if storage not in get_args(Storage):
        text = f"unknown storage {storage!r}; there are: {', '.join(get_args(Storage))}"
        raise ConfigError(text, code="unknown-choice", parameter="storage")
    if (folder / NAME).exists():
        raise OutputError(f"{folder}: there is an index already", code="file-exists")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder}: is not empty; give another folder for the index", code="folder-not-empty")
