"""Classes drawn by a power of their size."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from eml.images.samplers._class_batches import occurrence_index
from eml.images.samplers.base import UNLIMITED, Classes, Counts, Rows, Sampler, at_most, in_turn, percent, random_of

GOLDEN = (5**0.5 - 1) / 2  # its multiples modulo 1 are spread evenly, however many are taken


class Balanced(Sampler):
    """A class comes as often as (number of its images)^power. Mahajan 2018, arXiv:1805.00932, section 2.2, power ½.

    Deviation: the numbers are exact to one, not drawn; and any n_c draws of a class that follow one another, over
    epochs too, are all of its images.
    """

    type: Literal["balanced"] = "balanced"
    power: float = Field(0.5, ge=0, le=1, description="0: every class as often as another; 1: every image so")
    images: int | None = Field(
        None, ge=1, description="images an epoch; null: as many as there are, of each class up to max_per_class"
    )
    max_per_class: int | None = Field(None, ge=1, description="at most so many images of a class an epoch")
    max_repeats: int | None = Field(None, ge=1, description="an image comes at most so often an epoch")

    def steps(self, classes: Classes, batch_size: int) -> int:
        """Whole batches."""
        total = self._total(classes.counts)
        return total // min(batch_size, total)

    def epoch(self, classes: Classes, batch_size: int, seed: int, epoch: int) -> Rows:
        """(steps, B) rows."""
        total = self._total(classes.counts)
        size, steps = min(batch_size, total), self.steps(classes, batch_size)
        expected = self.expected(classes.counts, steps * size)
        before = np.zeros(len(expected), np.int64)
        for earlier_epoch in range(1, epoch):
            before += _numbers(expected, seed, earlier_epoch)
        numbers = _numbers(expected, seed, epoch)
        label = random_of(seed, epoch).permutation(np.repeat(np.arange(len(numbers)), numbers))
        rows = in_turn(classes, seed, before, numbers)
        place: NDArray[np.int64] = (np.cumsum(numbers) - numbers)[label] + occurrence_index(label)
        return rows[place.reshape(steps, size)]

    def expected(self, counts: Counts, total: int) -> NDArray[np.float64]:
        """(C,) draws of each class an epoch, in proportion to n^power as far as the limits allow, `total` together."""
        limit = self._limit(counts).astype(np.float64)
        weight = counts.astype(np.float64) ** self.power
        full = np.zeros(len(counts), bool)
        while True:
            left = total - limit[full].sum()
            shares = np.where(full, limit, weight * left / max(weight[~full].sum(), 1e-300))
            beyond = shares > limit
            if not beyond.any():
                return shares
            full |= beyond

    def notes(self, classes: Classes, batch_size: int, names: Sequence[str]) -> list[str]:
        """How much of the data an epoch shows, and how often it shows the same."""
        counts = classes.counts
        expected = self.expected(counts, self.steps(classes, batch_size) * min(batch_size, self._total(counts)))
        often, seen = expected / counts, np.minimum(expected, counts).sum() / counts.sum()
        most = int(often.argmax())
        return [
            f"sampler balanced: an epoch has {percent(float(seen))} of the images; one of {names[most]!r} "
            f"({counts[most]:,} images) comes {often[most]:.2g} times on average, one of the largest class "
            f"{often[counts.argmax()]:.2g} times"
        ]

    def _limit(self, counts: Counts) -> Counts:
        limit = np.full(len(counts), UNLIMITED if self.max_per_class is None else self.max_per_class)
        return limit if self.max_repeats is None else np.minimum(limit, counts * self.max_repeats)

    def _total(self, counts: Counts) -> int:
        return min(self.images or int(at_most(counts, self.max_per_class).sum()), int(self._limit(counts).sum()))


def _numbers(expected: NDArray[np.float64], seed: int, epoch: int) -> Counts:
    """(C,) whole draws, each the expected number rounded up or down, their sum the same: systematic sampling.

    A class lies on a line with its expected number as length, and gets the whole numbers that its stretch holds; the
    line is shifted from epoch to epoch, so that over epochs each class comes to its fraction.
    """
    shift = (random_of(seed).random() + epoch * GOLDEN) % 1
    numbers = np.floor(expected).astype(np.int64)
    broken = np.flatnonzero(numbers < expected)  # whole numbers, as all limits are, stay what they are
    if len(broken):
        ends = np.cumsum(expected[broken] - numbers[broken])
        ends[-1] = round(ends[-1])
        numbers[broken] += np.diff(np.floor(ends + shift), prepend=np.floor(shift)).astype(np.int64)
    return numbers
