"""Pairs of 64-bit hashes that differ by few bits, exactly and tile by tile: memory stays flat."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eml.dataset.components import Indices

ROWS, COLUMNS = 64, 4096  # of a tile: 2 MiB of differences, which fits a core's cache

Hashes = NDArray[np.uint64]
Progress = Callable[[int], None]


def near_pairs(
    values: Hashes, threshold: int, progress: Progress | None = None
) -> Iterator[tuple[Indices, Indices, Any]]:
    """All pairs i < j at a distance of at most `threshold` bits, as blocks of (i, j, distance); (N,) values.

    A block holds the pairs of one tile. Equal values make quadratically many pairs: collapse them first.
    """
    for top in range(0, len(values), ROWS):
        rows = values[top : top + ROWS]
        for left in range(top, len(values), COLUMNS):
            distance = distances(rows, values[left : left + COLUMNS])  # (rows, columns)
            if distance.min() <= threshold:
                i, j = np.nonzero(distance <= threshold)
                above = i + top < j + left  # the tile on the diagonal holds both halves
                i, j = i[above], j[above]
                if len(i):
                    yield i + top, j + left, distance[i, j]
        if progress:
            progress(len(rows))


def distances(rows: Hashes, columns: Hashes) -> NDArray[np.uint8]:
    """(R, C) bits by which (R,) and (C,) values differ."""
    distance: NDArray[np.uint8] = np.bitwise_count(rows[:, None] ^ columns[None, :])
    return distance
