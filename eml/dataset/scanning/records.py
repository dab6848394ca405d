"""What a scan has found so far, in some 60 bytes a file: a million images as objects would take a gigabyte."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.scanning.hashing import HashKind
from eml.dataset.scanning.inspect_file import UNSETTLED, Inspected, Problem

COLUMNS = ("label", "file_name", "width", "height", "hash", "hash_kind", "content", "bytes", "format", "mode")
_HASH, _CONTENT = 8, 16  # bytes
_UNREAD, _IMAGE, _PROBLEM = range(3)

Record = list[Any]
"""As JSON takes it: name, mtime, bytes, then width, height, hash, content, format, mode of an image, or reason and
detail of a problem."""


class ScanRecords:
    """For each file of a list sorted by name: its row, its problem, or nothing yet. Files go by their position."""

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
        self._kinds: dict[tuple[str, str], int] = {}  # (format, mode)
        self._problems: dict[int, Problem] = {}

    def unread(self) -> Sequence[int]:
        """Positions of which nothing is known yet."""
        return array("q", (position for position, state in enumerate(self._state) if state == _UNREAD))

    def is_read(self, position: int) -> bool:
        """Whether the row or the problem of that file is known."""
        return self._state[position] != _UNREAD

    def put(self, position: int, inspected: Inspected) -> None:
        """Adds what was found in the file at that position."""
        mtime, size, found = inspected
        if isinstance(found, Problem):
            self._put_problem(position, mtime, size, found.reason, found.detail)
        else:
            self._put_image(position, mtime, size, *found[2:6], found.format, found.mode)

    def put_record(self, position: int, record: Record) -> None:
        """Adds one of `records`."""
        _, mtime, size, *rest = record
        put = self._put_problem if len(rest) == 2 else self._put_image
        put(position, mtime, size, *rest)

    def records(self, positions: Iterable[int]) -> Iterator[Record]:
        """Records of those of the files that a later scan may take over when time and size are what they were."""
        for position in positions:
            if self._state[position] == _UNREAD or self._mtime[position] == UNSETTLED:
                continue
            record = [self.files[position], self._mtime[position], self._bytes[position]]
            if problem := self._problems.get(position):
                yield [*record, problem.reason, problem.detail]
                continue
            hash_ = self._hash[_HASH * position : _HASH * (position + 1)].hex()
            content = self._content[_CONTENT * position : _CONTENT * (position + 1)].hex()
            kind = list(self._kinds)[self._kind[position]]
            yield [*record, self._width[position], self._height[position], hash_, content, *kind]

    def table(self) -> pd.DataFrame:
        """The rows of all images, in the order of their names; the two columns of the hash where there is one."""
        at = np.flatnonzero(np.frombuffer(self._state, np.uint8) == _IMAGE)
        names = [self.files[position] for position in at.tolist()]
        kinds = list(self._kinds) or [("", "")]
        kind = np.frombuffer(self._kind, np.uint16)[at].tolist()
        columns = {
            "label": [name.partition("/")[0] for name in names],
            "file_name": names,
            "width": np.frombuffer(self._width, np.int32)[at].astype(np.int64),
            "height": np.frombuffer(self._height, np.int32)[at].astype(np.int64),
            "hash": _digits(self._hash, at, _HASH) if self.hash_kind else None,
            "hash_kind": self.hash_kind,
            "content": _digits(self._content, at, _CONTENT),
            "bytes": np.frombuffer(self._bytes, np.int64)[at],
            "format": [kinds[code][0] for code in kind],
            "mode": [kinds[code][1] for code in kind],
        }
        return pd.DataFrame({name: columns[name] for name in COLUMNS if columns[name] is not None})

    def problems(self) -> list[Problem]:
        """Of all files that cannot be used, in no fixed order."""
        return list(self._problems.values())

    def _put_image(
        self,
        position: int,
        mtime: int,
        size: int,
        width: int,
        height: int,
        hash_: str,
        content: str,
        format_: str,
        mode: str,
    ) -> None:
        self._mtime[position], self._bytes[position] = mtime, size
        self._width[position], self._height[position] = width, height
        if self.hash_kind:
            self._hash[_HASH * position : _HASH * (position + 1)] = bytes.fromhex(hash_)
        self._content[_CONTENT * position : _CONTENT * (position + 1)] = bytes.fromhex(content)
        self._kind[position] = self._kinds.setdefault((format_, mode), len(self._kinds))
        self._state[position] = _IMAGE

    def _put_problem(self, position: int, mtime: int, size: int, reason: str, detail: str) -> None:
        self._mtime[position], self._bytes[position] = mtime, size
        self._problems[position] = Problem(self.files[position], reason, detail)
        self._state[position] = _PROBLEM


def _digits(packed: memoryview, at: NDArray[np.intp], width: int) -> list[str]:
    digits, width = packed.hex(), 2 * width
    return [digits[width * position : width * (position + 1)] for position in at.tolist()]
