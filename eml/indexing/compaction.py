"""Erase removed images from all files of an index, and join its segments."""

import time
from dataclasses import dataclass

from eml.indexing.changes import IndexChange, rewritten
from eml.indexing.database import Database
from eml.indexing.segment_files import SEGMENT_ROWS
from eml.indexing.state import IndexState, read_state, write_state
from eml.indexing.store_info import folder_bytes

READERS = 10.0  # seconds that erasing waits for readers of the log of changes


@dataclass(frozen=True)
class CompactedIndex:
    """The result of a compaction.

    Attributes:
        dropped: Removed images that were still in segments.
        segments: Number of segments now.
        bytes_before: Of the whole folder.
        bytes_after: Of the whole folder.
        is_erased: Whether no file of the index has bytes of removed images any more. False while a reader of an
            earlier generation keeps the log of changes from being cut; compact again when it has ended.
    """

    dropped: int
    segments: int
    bytes_before: int
    bytes_after: int
    is_erased: bool


def merge_segments(change: IndexChange, state: IndexState) -> None:
    """Write again all segments from the first one on that has removed images or is not full, in an open transaction."""
    rows = change.connection.execute("SELECT id FROM removed ORDER BY id LIMIT 1").fetchone()
    first_removed = rows[0] if rows else state.last_id + 1
    kept = 0
    for record in state.segments:
        if record.rows < SEGMENT_ROWS or record.last >= first_removed:
            break
        kept += 1
    if state.removed or kept < len(state.segments) - 1:
        write_state(change.connection, rewritten(change, state, kept), change.folder)


def erase(database: Database, before: IndexState) -> CompactedIndex:
    """Rebuild the database without free space and cut the log of changes, if images have been removed since last time.

    Args:
        database: The index, whose segments have been merged.
        before: The state before that.
    """
    size = sum(folder_bytes(database.folder))
    with database.read() as connection:
        state = read_state(connection, database.folder)
    is_erased = True
    if state.is_to_erase:
        database.vacuum()
        is_erased = _empty_log(database)
        if is_erased:
            with database.write() as connection:
                newest = read_state(connection, database.folder)
                write_state(connection, newest.next(erased=max(newest.erased, state.generation)), database.folder)
    after = sum(folder_bytes(database.folder))
    return CompactedIndex(before.removed - state.removed, len(state.segments), size, after, is_erased)


def _empty_log(database: Database) -> bool:
    """Cut the log of changes to nothing, when readers allow it; return whether they did."""
    began = time.monotonic()
    while not database.empty_log():
        if time.monotonic() - began > READERS:
            return False
        time.sleep(0.05)
    return True
