"""The images of row groups of Parquet that were read last, up to a number of bytes."""

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from itertools import accumulate
from typing import Any


class ImageGroup:
    """The images of a row group.

    Args:
        parts: Arrays of bytes of Arrow, one after the other.
        bytes_: That they take in all.
    """

    def __init__(self, parts: list[Any], bytes_: int) -> None:
        self._parts, self.bytes = parts, bytes_
        self._starts = [0, *accumulate(len(part) for part in parts)]

    def read(self, row: int) -> bytes:
        """Return an image. Raises KeyError for a row without one."""
        part = bisect_right(self._starts, row) - 1
        value = self._parts[part][row - self._starts[part]].as_py()
        if value is None:
            raise KeyError(row)
        return bytes(value)


class KeptGroups:
    """The row groups that were read last, by file and number.

    Args:
        most: Bytes that are kept; the last row group is kept whatever its size.
    """

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._kept: OrderedDict[tuple[int, int], ImageGroup] = OrderedDict()

    def get(self, key: tuple[int, int], read: Callable[[], ImageGroup]) -> ImageGroup:
        """Return a row group, which `read` gives where it is not kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        group = read()
        with self._lock:
            self._kept[key] = group
            while len(self._kept) > 1 and sum(kept.bytes for kept in self._kept.values()) > self._most:
                self._kept.popitem(last=False)
        return group
