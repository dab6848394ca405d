"""The segments of the current generation: opened, kept between searches, and made again where a file is damaged."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

import numpy as np

from eml.errors import DataError, OutputError
from eml.indexing.changes import delete_orphans, delete_segment, take_removed
from eml.indexing.database import Database, damaged
from eml.indexing.embedding_rows import read_vectors, write_segments
from eml.indexing.segment_files import FOLDER, DamagedSegmentError, Segment, open_segment
from eml.indexing.state import MODULUS, IndexState, SegmentRecord, ids_sum, read_removed, read_state, write_state
from eml.indexing.view import IndexView, alive_rows

Answer = TypeVar("Answer")
REPAIRING = 5.0  # seconds that a reader waits for writers before it does without a repaired file


class ViewLoader:
    """Gives the view of the current generation.

    Args:
        database: The connection.
        size: The embedding size.
        storage: float32 or float16.
    """

    def __init__(self, database: Database, size: int, storage: str) -> None:
        self.database, self.size, self.storage = database, size, storage
        self._state: IndexState | None = None
        self._view = IndexView((), ())
        self._loaded: dict[str, Segment] = {}

    def load(self) -> IndexView:
        """Return the view of the current generation; of that of the block that sees one moment, within one."""
        tries = 0
        while True:
            try:
                return self._load()
            except DamagedSegmentError as error:
                tries += 1
                self._mend(error, tries)

    def answer(self, function: Callable[[], Answer]) -> Answer:
        """Return what a function returns; where it meets a damaged segment, call it again after making that again."""
        tries = 0
        while True:
            try:
                return function()
            except DamagedSegmentError as error:
                tries += 1
                self.mend(error, tries)

    def mend(self, error: DamagedSegmentError, tries: int = 0) -> None:
        """Make a segment again that turned out to be damaged when it was read."""
        self._loaded.pop(error.record.name, None)
        self._state = None
        self._mend(error, tries)

    def _load(self) -> IndexView:
        with self.database.read() as connection:
            state = read_state(connection, self.database.folder)
            if state == self._state:
                return self._view
            removed = read_removed(connection, state, self.database.folder)
        loaded = {record.name: self._kept(record) or self._open(record) for record in state.segments}
        segments = tuple(loaded.values())
        view = IndexView(segments, alive_rows(segments, removed))
        if len(view) != state.images:
            text = f"its segments have {len(view):,} images, its tables {state.images:,}"
            raise damaged(self.database.folder, text)
        self._loaded, self._state, self._view = loaded, state, view
        return view

    def _kept(self, record: SegmentRecord) -> Segment | None:
        segment = self._loaded.get(record.name)
        return segment if segment is not None and segment.record.checksum == record.checksum else None

    def _open(self, record: SegmentRecord) -> Segment:
        return open_segment(self.database.folder / FOLDER, record, self.size, self.storage)

    def _mend(self, error: DamagedSegmentError, tries: int) -> None:
        """Make a segment again, unless a newer generation has done without it."""
        if tries > 10_000:
            raise damaged(self.database.folder, str(error)) from error
        if not self.database.is_reading:
            with self.database.read() as connection:
                state = read_state(connection, self.database.folder)
            if error.record not in state.segments:
                return
            with suppress(OutputError):
                if self._rewrite(error.record):
                    self._tell(f"{FOLDER}/{error}; it has been made again")
                    return
        # In a block that sees one moment, a later change may have done without the segment since.
        if not self.database.is_reading or (self.database.folder / FOLDER / error.record.name).exists():
            self._tell(f"{FOLDER}/{error}; it has been read from the database instead")
        self._loaded[error.record.name] = self._from_database(error.record)
        self._state = None

    def _tell(self, text: str) -> None:
        if self.database.report:
            self.database.report(f"{self.database.folder}: {text}")

    def _rewrite(self, record: SegmentRecord) -> bool:
        """Write a segment's file again under the name of a new generation; return whether that could be done."""
        patience, self.database.patience = self.database.patience, REPAIRING
        try:
            rewrite_segment(self.database, (self.size, self.storage), record)
        except DataError as error:
            if error.code != "index-is-locked":
                raise
            return False
        finally:
            self.database.patience = patience
        return True

    def _from_database(self, record: SegmentRecord) -> Segment:
        with self.database.read() as connection:
            parts = list(
                read_vectors(connection, self.database.folder, self.size, self.storage, record.first, record.last)
            )
        ids = np.concatenate([np.zeros(0, np.int64), *(numbers for numbers, _ in parts)])
        vectors = np.concatenate([np.zeros((0, self.size), self.storage), *(rows for _, rows in parts)])
        return Segment(replace(record, rows=len(ids)), ids, vectors, {}, [])


def rewrite_segment(database: Database, facts: tuple[int, str], record: SegmentRecord) -> None:
    """Write a segment again from the database, without the images that have been removed."""
    with database.write() as connection:
        state = read_state(connection, database.folder)
        if record not in state.segments:
            return
        delete_orphans(database.folder, state.segments)
        place, bounds = state.segments.index(record), (record.first, record.last)
        records = write_segments(connection, database.folder, state.generation + 1, facts, bounds)
        gone = take_removed(connection, *bounds)
        state = state.next(
            segments=(*state.segments[:place], *records, *state.segments[place + 1 :]),
            removed=state.removed - len(gone),
            removed_sum=(state.removed_sum - ids_sum(gone)) % MODULUS,
        )
        write_state(connection, state, database.folder)
    delete_segment(database.folder, record)
