"""MXNet's RecordIO: images and labels in one file, without MXNet.

A record is the magic number, a word of a flag (3 bits) and a length (29 bits), the data, and padding to four bytes
(dmlc-core, include/dmlc/recordio.h). Data that holds the magic number at a multiple of four is cut there into parts of
several flags, without the number. The data of an image is a header (flag, label, id, id2; `IfQQ`), where the flag
counts labels that follow it, and the image's file (mxnet/recordio.py).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from eml.dataset.problems import short_repr
from eml.dataset.protocols._lists import read_text
from eml.errors import DataError

MAGIC = 0xCED7230A
HEADER = struct.Struct("<IfQQ")
WORDS = struct.Struct("<II")
WHOLE, FIRST, MIDDLE, LAST = range(4)
MOST_LABELS = 1024


@dataclass(frozen=True)
class ImageRecord:
    """A record of an image; labels: of a float each, as MXNet has them."""

    labels: tuple[float, ...]
    data: bytes


def read_index(source: Path) -> dict[int, int]:
    """Return key → offset of a .idx file, a line `KEY OFFSET` each. Raises DataError with the line."""
    offsets: dict[int, int] = {}
    for number, line in enumerate(read_text(source).splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2 or not all(word.isascii() and word.isdecimal() and len(word) < 19 for word in words):
            text = f"{source}:{number}: must be KEY OFFSET, got {short_repr(line)}"
            raise DataError(text, code="not-a-table", parameter="dataset")
        offsets[int(words[0])] = int(words[1])
    if not offsets:
        raise DataError(f"{source}: names no record", code="empty-table", parameter="dataset")
    return offsets


class RecordFile:
    """A .rec file, open for reading; use it in a `with`."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self._size = source.stat().st_size
        self._file: BinaryIO = source.open("rb")

    def __enter__(self) -> "RecordFile":
        """Return the file."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self._file.close()

    def image(self, offset: int) -> ImageRecord:
        """Return the image at an offset. Raises DataError where there is none."""
        data = b"".join(self._parts(offset))
        if len(data) < HEADER.size:
            raise self._damaged(offset, "the record is too short for an image")
        count, label, _, _ = HEADER.unpack_from(data)
        if not count:
            return ImageRecord((label,), data[HEADER.size :])
        end = HEADER.size + 4 * count
        if count > MOST_LABELS or end > len(data):
            raise self._damaged(offset, f"the record has {count:,} labels")
        return ImageRecord(struct.unpack_from(f"<{count}f", data, HEADER.size), data[end:])

    def _parts(self, offset: int) -> Iterator[bytes]:
        """Yield the data of a record, with the magic number where it was cut."""
        start = offset
        expected = (WHOLE, FIRST)
        while True:
            flag, data = self._part(offset, start)
            if flag not in expected:
                raise self._damaged(start, "its parts are out of order")
            if expected == (MIDDLE, LAST):
                yield struct.pack("<I", MAGIC)
            yield data
            if flag in (WHOLE, LAST):
                return
            expected = (MIDDLE, LAST)
            offset += WORDS.size + (len(data) + 3) // 4 * 4

    def _part(self, offset: int, start: int) -> tuple[int, bytes]:
        """Return the flag and the data of the part at an offset of the record that starts at another."""
        if offset + WORDS.size > self._size:
            raise self._damaged(start, f"the file ends after {self._size:,} bytes")
        self._file.seek(offset)
        magic, word = WORDS.unpack(self._file.read(WORDS.size))
        length = word & ((1 << 29) - 1)
        if magic != MAGIC:
            raise self._damaged(start, "no record begins there; the index is of another file")
        if offset + WORDS.size + length > self._size:
            raise self._damaged(start, f"the file ends after {self._size:,} bytes")
        return word >> 29, self._file.read(length)

    def _damaged(self, offset: int, reason: str) -> DataError:
        text = f"{self.source}: the record at byte {offset:,} cannot be read: {reason}. Fetch the file again"
        return DataError(text, code="damaged-file", parameter="dataset")
