"""Find the place of each value of a Parquet column of bytes that is stored as it is.

A column chunk without compression and dictionary is a row of pages, and a page of type PLAIN a row of values with four
bytes of length before each. Then an image inside is one read, as in a tar file; a reader of Parquet reads and copies
the whole row group for it. See Apache Parquet's documentation, "Data Pages" and "Encodings", and Apache Thrift's
"Compact protocol encoding". Whatever is otherwise gives None, and the reader of Parquet reads it.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from eml.images.packed.random_access import RandomFile

_HEADER = 2**12  # bytes read for a page's header; statistics can make it longer
_LONGEST_HEADER = 2**22
_DATA, _DATA_2 = 0, 3  # types of pages
_PLAIN, _RLE = 0, 3  # encodings
_STOP, _TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(13)
_DEEPEST = 8

Places = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Offsets in the file, and lengths in bytes."""


class UnfamiliarError(Exception):
    """The pages are stored in another way."""


def value_places(file: RandomFile, start: int, size: int, rows: int, most_defined: int) -> Places | None:
    """Return where each of a chunk's values lies; None where they are not stored as they are, or some are missing.

    Args:
        file: The Parquet file.
        start: Where the chunk begins.
        size: Its bytes.
        rows: Its values.
        most_defined: The level of definition of a value that is there.
    """
    offsets, lengths = np.empty(rows, np.int64), np.empty(rows, np.int64)
    place, end, row = start, start + size, 0
    try:
        while row < rows:
            if place >= end:
                return None
            header, length = page_header(file, place, end)
            count, first, last = _values(file, header, place + length, most_defined)
            if count < 1 or last > end or row + count > rows:
                return None
            for number in range(row, row + count):
                offsets[number], lengths[number] = first + 4, _length(file, first, last)
                first += 4 + int(lengths[number])
            row, place = row + count, last
            if first != last:
                return None
    except (UnfamiliarError, IndexError, OverflowError):
        return None
    return offsets, lengths


def _length(file: RandomFile, place: int, last: int) -> int:
    length = int.from_bytes(file.read(place, 4), "little")
    if place + 4 + length > last:
        raise UnfamiliarError
    return length


def page_header(file: RandomFile, place: int, end: int) -> tuple[dict[int, object], int]:
    """Return the fields of a page's header by their numbers, and the bytes that it takes."""
    count = _HEADER
    while True:
        data = file.read(place, min(count, end - place))
        try:
            reader = _Compact(data)
            return reader.struct(), reader.place  # raises where the stop at its end is beyond the data
        except IndexError:
            if count >= min(_LONGEST_HEADER, end - place):
                raise
            count *= 8


def _values(file: RandomFile, header: dict[int, object], place: int, most_defined: int) -> tuple[int, int, int]:
    """Return the number of a page's values, and where they begin and end."""
    kind, unpacked, packed = header.get(1), header.get(2), header.get(3)
    if not isinstance(packed, int) or packed < 0 or unpacked != packed:
        raise UnfamiliarError
    own = header.get(5 if kind == _DATA else 8)
    if kind not in (_DATA, _DATA_2) or not isinstance(own, dict):
        raise UnfamiliarError
    count, end = own.get(1), place + packed
    if not isinstance(count, int):
        raise UnfamiliarError
    if kind == _DATA:
        if own.get(2) != _PLAIN or (most_defined and own.get(3) != _RLE):
            raise UnfamiliarError
        if most_defined:
            length = int.from_bytes(file.read(place, 4), "little")
            _require_all(file.read(place + 4, min(length, 16)), length, count, most_defined)
            place += 4 + length
        return count, place, end
    missing, encoding, defined, repeated = own.get(2), own.get(4), own.get(5), own.get(6)
    if missing != 0 or encoding != _PLAIN or not isinstance(defined, int) or not isinstance(repeated, int):
        raise UnfamiliarError
    return count, place + defined + repeated, end


def _require_all(levels: bytes, length: int, count: int, most_defined: int) -> None:
    """Raise where the levels of definition are not one run that says that every value is there."""
    reader = _Compact(levels)
    run = reader.varint()
    if run & 1 or run >> 1 < count or length != reader.place + 1 or levels[reader.place] != most_defined:
        raise UnfamiliarError


class _Compact:
    """A reader of Thrift's compact protocol, for structures of numbers, bytes and structures."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.data[self.place]
            self.place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
            if shift > 63:
                raise UnfamiliarError

    def number(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def struct(self, depth: int = 0) -> dict[int, object]:
        if depth > _DEEPEST:
            raise UnfamiliarError
        fields: dict[int, object] = {}
        number = 0
        for delta, kind in self._fields():
            number = number + delta if delta else self.number()
            fields[number] = self._value(kind, depth)
        return fields

    def _fields(self) -> Iterator[tuple[int, int]]:
        while (byte := self.data[self.place]) != _STOP:
            self.place += 1
            yield byte >> 4, byte & 15
        self.place += 1

    def _value(self, kind: int, depth: int) -> object:
        if kind in (_TRUE, _FALSE):
            return kind == _TRUE
        if kind in (_I16, _I32, _I64):
            return self.number()
        if kind == _BINARY:
            length = self.varint()
            self.place += length
            return None
        if kind == _STRUCT:
            return self.struct(depth + 1)
        raise UnfamiliarError
