"""The records of a scan, packed into some 60 bytes a file: a million images as objects would take a gigabyte."""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.scanning.class_level import FIRST, ClassLevel, class_of
from eml.dataset.scanning.hashing import HashKind
from eml.dataset.scanning.inspect_file import UNSETTLED, FileRecord
from eml.dataset.scanning.listing import FileProblem
from eml.dataset.similar_labels import canonical

COLUMNS = (
    *("label", "file_name", "width", "height", "hash", "hash_kind"),
    *("content", "bytes", "format", "mode", "is_blank"),
)
_HASH, _CONTENT = 8, 16  # bytes
_UNREAD, _IMAGE, _PROBLEM = range(3)


class ScanRecords:
    """The record of each file of a sorted list, or nothing yet. Files are addressed by their position."""

    def __init__(self, files: Sequence[str], hash_kind: HashKind | None) -> None:
        self.files, self.hash_kind = files, hash_kind
        count = len(files)
        self._state = bytearray(count)
        self._mtime, self._bytes = array("q", bytes(8 * count)), array("q", bytes(8 * count))
        self._width, self._height = array("i", bytes(4 * count)), array("i", bytes(4 * count))
        # memoryview, since a slice of it cannot be made longer or shorter
        self._hash = memoryview(bytearray(_HASH * count if hash_kind else 0))
        self._content = memoryview(bytearray(_CONTENT * count))
        self._kind = array("H", bytes(2 * count))
        self._blank = bytearray(count)
        self._kinds: dict[tuple[str, str], int] = {}  # (format, mode)
        self._problems: dict[int, FileProblem] = {}

    def unread(self) -> Sequence[int]:
        """Return the positions without a record."""
        return array("q", (position for position, state in enumerate(self._state) if state == _UNREAD))

    def is_read(self, position: int) -> bool:
        """Return whether the file at that position has a record."""
        return self._state[position] != _UNREAD

    def is_image(self, position: int) -> bool:
        """Return whether the file at that position is a usable image."""
        return self._state[position] == _IMAGE

    def put(self, position: int, record: FileRecord) -> None:
        """Store the record of the file at that position."""
        self._mtime[position], self._bytes[position] = record.mtime, record.bytes
        if record.reason:
            self._problems[position] = FileProblem(self.files[position], record.reason, record.detail)
            self._state[position] = _PROBLEM
            return
        self._width[position], self._height[position] = record.width, record.height
        if self.hash_kind:
            self._hash[_HASH * position : _HASH * (position + 1)] = bytes.fromhex(record.hash)
        self._content[_CONTENT * position : _CONTENT * (position + 1)] = bytes.fromhex(record.content)
        self._kind[position] = self._kinds.setdefault((record.format, record.mode), len(self._kinds))
        self._blank[position] = record.is_blank
        self._state[position] = _IMAGE

    def settled(self, positions: Iterable[int]) -> Iterator[FileRecord]:
        """Yield the records that a later scan may use again while the file's time and size are unchanged."""
        return self.all(position for position in positions if self._mtime[position] != UNSETTLED)

    def all(self, positions: Iterable[int]) -> Iterator[FileRecord]:
        """Yield the records of these files, of those that have one."""
        kinds = list(self._kinds)
        for position in positions:
            if self._state[position] == _UNREAD:
                continue
            record = FileRecord(self.files[position], self._mtime[position], self._bytes[position])
            if problem := self._problems.get(position):
                record.reason, record.detail = problem.reason, problem.detail
            else:
                record.width, record.height = self._width[position], self._height[position]
                record.hash = self._hash[_HASH * position : _HASH * (position + 1)].hex()
                record.content = self._content[_CONTENT * position : _CONTENT * (position + 1)].hex()
                record.format, record.mode = kinds[self._kind[position]]
                record.is_blank = bool(self._blank[position])
            yield record

    def table(self, class_level: ClassLevel = FIRST, labels: Mapping[str, str] | None = None) -> pd.DataFrame:
        """Return the rows of all images, in the order of their names; without a hash kind, without its two columns.

        labels: Of images whose folders are not their class, by name.
        """
        at = np.flatnonzero(np.frombuffer(self._state, np.uint8) == _IMAGE)
        names, own = [self.files[position] for position in at.tolist()], labels or {}
        kinds = list(self._kinds) or [("", "")]
        kind = np.frombuffer(self._kind, np.uint16)[at].tolist()
        columns = {
            "label": [canonical(own[name] if name in own else class_of(name, class_level)) for name in names],
            "file_name": names,
            "width": np.frombuffer(self._width, np.int32)[at].astype(np.int64),
            "height": np.frombuffer(self._height, np.int32)[at].astype(np.int64),
            "hash": _digits(self._hash, at, _HASH) if self.hash_kind else None,
            "hash_kind": self.hash_kind,
            "content": _digits(self._content, at, _CONTENT),
            "bytes": np.frombuffer(self._bytes, np.int64)[at],
            "format": [kinds[code][0] for code in kind],
            "mode": [kinds[code][1] for code in kind],
            "is_blank": np.frombuffer(self._blank, np.uint8)[at].astype(bool),
        }
        return pd.DataFrame({name: columns[name] for name in COLUMNS if columns[name] is not None})

    def problems(self) -> list[FileProblem]:
        """Return the problems of all files that cannot be used, in no fixed order."""
        return list(self._problems.values())


def _digits(packed: memoryview, at: NDArray[np.intp], width: int) -> list[str]:
    digits, width = packed.hex(), 2 * width
    return [digits[width * position : width * (position + 1)] for position in at.tolist()]
