"""Add up what the pages of a Parquet column chunk become when they are decompressed, by their headers alone.

A file of a megabyte can say a gigabyte: by compression, which a page's header tells, or by values that are there once
and are said again (a dictionary, common beginnings), which only decoding tells. See Apache Parquet's documentation,
"Data Pages" and "Encodings".
"""

from typing import NamedTuple

from eml.images.packed.plain_pages import UnfamiliarError, page_header
from eml.images.packed.random_access import RandomFile

_DATA, _INDEX, _DICTIONARY, _DATA_2 = range(4)  # types of pages
_DELTA_BYTES = 7  # an encoding: values by what they have in common with the one before
_FEW_PAGES, _BYTES_PER_PAGE = 1_000, 256  # more pages are the work of a few bytes that say so


class PageSizes(NamedTuple):
    """The pages of a column chunk."""

    bytes: int
    """Bytes that all pages take when they are decompressed."""
    repeated: int
    """Bytes of the largest page whose values may be said again: the most that a row can add without being stored."""


def page_sizes(file: RandomFile, start: int, size: int) -> PageSizes | None:
    """Return the sizes of a chunk's pages; None where their headers cannot be read, or are far too many.

    Args:
        file: The Parquet file.
        start: Where the chunk begins, with its dictionary where it has one.
        size: Its bytes in the file.
    """
    place, end, total, repeated = start, start + size, 0, 0
    if not 0 <= start <= end <= file.size:
        return None
    try:
        for _ in range(_FEW_PAGES + size // _BYTES_PER_PAGE):
            if place >= end:
                return PageSizes(total, repeated)
            header, length = page_header(file, place, end)
            unpacked, packed = header.get(2), header.get(3)
            if not isinstance(unpacked, int) or not isinstance(packed, int) or unpacked < 0 or packed < 0:
                return None
            total += unpacked
            if _may_repeat(header):
                repeated = max(repeated, unpacked)
            place += length + packed
    except (UnfamiliarError, IndexError, OverflowError):
        return None
    return None


def _may_repeat(header: dict[int, object]) -> bool:
    kind = header.get(1)
    if kind == _DICTIONARY:
        return True
    own = header.get({_DATA: 5, _DATA_2: 8}.get(kind if isinstance(kind, int) else -1, -1))
    return not isinstance(own, dict) or own.get(2 if kind == _DATA else 4) == _DELTA_BYTES
