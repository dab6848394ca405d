"""Bins of a histogram at round numbers: few enough to read, fine enough to show the shape."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 24  # bins: a chart of 360 px can show this many bars apart
SPREAD = 20  # ratio of the largest to the smallest value above which bins grow with the values
GROWING = (1, 1.5, 2, 3, 4, 5, 7)  # times a power of ten


@dataclass(frozen=True)
class Bin:
    """The number of values between two whole numbers, `low` and `high`, both inclusive."""

    low: int
    high: int
    count: int


def histogram(values: NDArray[Any]) -> list[Bin]:
    """Count whole numbers in adjoining bins: one bin per number if there are few, else of equal or of growing width.

    Args:
        values: (N,) whole numbers ≥ 0, N ≥ 1.

    Returns:
        The bins in ascending order, empty ones between others included.
    """
    low, high = int(values.min()), int(values.max())
    if high - low < MOST:
        edges = list(range(low, high + 2))
    elif high >= SPREAD * max(low, 1):
        edges = _growing_edges(low, high)
    else:
        edges = _equal_edges(low, high)
    counts = np.histogram(values, bins=[*edges[:-1], edges[-1] - 0.5])[0]  # numpy's last bin includes both ends
    return [Bin(edge, edges[i + 1] - 1, int(counts[i])) for i, edge in enumerate(edges[:-1])]


def round_step(span: float, most: int) -> int:
    """Return the smallest of 1, 2, 5, 10, 20, 50, … with which at most `most` steps cover `span`."""
    power = 1
    while True:
        for step in (1, 2, 5):
            if span <= step * power * most:
                return step * power
        power *= 10


def _equal_edges(low: int, high: int) -> list[int]:
    step = round_step(high + 1 - low, MOST - 2)  # rounding the ends may add two bins
    first = low // step * step
    return list(range(first, high + step + 1, step))


def _growing_edges(low: int, high: int) -> list[int]:
    edges = [0] if low == 0 else []
    power = 1
    while not edges or edges[-1] <= high:
        edges += [int(factor * power) for factor in GROWING if float(factor * power).is_integer()]
        power *= 10
    first = max(i for i, edge in enumerate(edges) if edge <= low)
    last = min(i for i, edge in enumerate(edges) if edge > high)
    return edges[first : last + 1]
