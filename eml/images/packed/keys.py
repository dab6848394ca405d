"""Which key an image inside a packed file has, and which texts can be none."""

import hashlib
import os
import re
from array import array
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eml.images.locate import LEAVES_ROOT, is_image_name
from eml.images.packed.contents import PackedProblem

DIGITS = 8
"""Digits of the number of a row that is the key of an image without a name of its own."""

_LITTER = ("__macosx", "thumbs.db", "desktop.ini")
_leaves_root = re.compile(LEAVES_ROOT).search


def normal_key(name: str) -> str:
    """Return a stored name without `./` and empty parts, which tar writes for a folder that is packed from within."""
    if "./" in name or "//" in name:
        parts = name.split("/")
        return "/".join(part for number, part in enumerate(parts) if part != "." and (part or number == 0))
    return name


def key_problem(key: str) -> PackedProblem | None:
    """Return why a text can be no key: keys are names below the packed file."""
    if not key.isascii() and (shown := shown_key(key)) != key:
        return PackedProblem(shown, "unusable_name", "its name is not valid UTF-8; rename it")
    if _leaves_root(key):
        return PackedProblem(key, "unusable_name", "its name reads like a path out of the dataset; rename it")
    if not key or not is_image_name(key) or "\n" in key:
        return PackedProblem(key[:200], "unusable_name", "its name is empty, too long or no name of a file; rename it")
    return None


def is_hidden(key: str) -> bool:
    """Return whether a key is of a file that a folder's listing passes over."""
    lower = key.lower()
    if key[:1] != "." and "/." not in key and not any(name in lower for name in _LITTER):
        return False
    return any(part.startswith(".") or part in _LITTER for part in lower.split("/"))


def shown_key(key: str) -> str:
    """Return a key that can be written as text: bytes that are not UTF-8 as \\xNN."""
    return os.fsencode(key).decode("utf-8", "backslashreplace")


def usable_names(names: Sequence[str]) -> bool:
    """Return whether each of the names is another one, and can be a key."""
    return len(set(names)) == len(names) and all(
        name == normal_key(name) and key_problem(name) is None for name in names
    )


class RowKeys:
    """The keys of rows: their names where they have usable ones, else their numbers.

    Args:
        rows: The number of rows.
        names: Of the images; None where some have none.
    """

    def __init__(self, rows: int, names: Sequence[str] | None) -> None:
        self._rows = rows
        self._names = names if names is not None and usable_names(names) else None
        self._index = None if self._names is None else KeyIndex(self._names)

    @classmethod
    def of_bytes(cls, rows: int, data: bytes) -> "RowKeys":
        """Return what gave these bytes, without the names. Raises ValueError for bytes of something else."""
        keys = cls(rows, None)
        if data:
            keys._index = KeyIndex.of_digests(np.frombuffer(data, "<u8"))
            if len(data) != 8 * rows:
                raise ValueError("they are of other keys")
        return keys

    def to_bytes(self) -> bytes:
        """Return the digests of the names in the order of the rows, nothing where the keys are numbers."""
        return b"" if self._names is None else key_digests(self._names).tobytes()

    def all(self) -> list[str]:
        """Return the keys in the order of the rows."""
        return [f"{row:0{DIGITS}d}" for row in range(self._rows)] if self._names is None else list(self._names)

    def forget_names(self) -> None:
        """Keep the index alone."""
        self._names = None

    def row(self, key: str) -> int:
        """Return the row of a key. Raises KeyError."""
        if self._index is not None:
            return self._index.find(key)
        if len(key) >= DIGITS and key.isascii() and key.isdigit() and int(key[:20]) < self._rows:
            return int(key)
        raise KeyError(key)


class KeyIndex:
    """Finds the place of a key in a list by a digest of 64 bits, in 16 bytes a key; of equal ones the last.

    Args:
        keys: All keys.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._sort(key_digests(keys))

    @classmethod
    def of_digests(cls, digests: NDArray[np.uint64]) -> "KeyIndex":
        """Return the index of the keys with these digests, (N,)."""
        index = cls.__new__(cls)
        index._sort(digests)
        return index

    def _sort(self, digests: NDArray[np.uint64]) -> None:
        order = np.argsort(digests, kind="stable")
        self._order, self._sorted = array("q", order.tobytes()), array("Q", digests[order].tobytes())

    def find(self, key: str) -> int:
        """Return the place of a key. Raises KeyError."""
        digest = int.from_bytes(_digest(key), "little")
        place = bisect_right(self._sorted, digest) - 1
        if place < 0 or self._sorted[place] != digest:
            raise KeyError(key)
        return self._order[place]


def key_digests(keys: Sequence[str]) -> NDArray[np.uint64]:
    """Return (N,) digests of 64 bits."""
    return np.frombuffer(b"".join(map(_digest, keys)), "<u8")


def _digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest()
