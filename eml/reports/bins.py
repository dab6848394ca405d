"""Bins of a histogram at round numbers: few enough to be read, fine enough to show the shape."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 24  # bins: what a chart of 360 px shows with bars that can be told apart
SPREAD = 20  # largest over smallest value from which bins grow with the values
GROWING = (1, 1.5, 2, 3, 4, 5, 7)  # times a power of ten


@dataclass(frozen=True)
class Bin:
    """Whole numbers from `low` to `high`, both inclusive, and how many values are among them."""

    low: int
    high: int
    count: int

    @property
    def name(self) -> str:
        """`7`, `20–29`."""
        return f"{self.low:,}" if self.low == self.high else f"{self.low:,}–{self.high:,}"


def histogram(values: NDArray[Any]) -> list[Bin]:
    """Bins of (N,) whole numbers ≥ 0, N ≥ 1: one for each number where they are few, else of equal width, else growing.

    Empty bins between the others are there too.
    """
    low, high = int(values.min()), int(values.max())
    if high - low < MOST:
        edges = list(range(low, high + 2))
    elif high >= SPREAD * max(low, 1):
        edges = _growing(low, high)
    else:
        edges = _equal(low, high)
    counts = np.histogram(values, bins=[*edges[:-1], edges[-1] - 0.5])[0]  # numpy's last bin has both its ends
    return [Bin(edge, edges[i + 1] - 1, int(counts[i])) for i, edge in enumerate(edges[:-1])]


def round_step(span: float, most: int) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50, … of which at most `most` cover `span`."""
    power = 1
    while True:
        for step in (1, 2, 5):
            if span <= step * power * most:
                return step * power
        power *= 10


def _equal(low: int, high: int) -> list[int]:
    step = round_step(high + 1 - low, MOST - 2)  # two more, since the ends are rounded
    first = low // step * step
    return list(range(first, high + step + 1, step))


def _growing(low: int, high: int) -> list[int]:
    edges = [0] if low == 0 else []
    power = 1
    while not edges or edges[-1] <= high:
        edges += [int(factor * power) for factor in GROWING if float(factor * power).is_integer()]
        power *= 10
    first = max(i for i, edge in enumerate(edges) if edge <= low)
    last = min(i for i, edge in enumerate(edges) if edge > high)
    return edges[first : last + 1]
