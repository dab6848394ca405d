"""Classes that are used in proportion to a power of their size."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from eml.images.samplers._class_batches import occurrence_index
from eml.images.samplers.base import (
    UNLIMITED,
    Classes,
    Counts,
    RowIndices,
    Sampler,
    epoch_generator,
    limit_counts,
    percent,
    take_turns,
)

GOLDEN = (5**0.5 - 1) / 2  # its multiples modulo 1 are spread evenly, whatever their number


class Balanced(Sampler):
    """A class is used in proportion to (number of its images)^power.

    Mahajan 2018, arXiv:1805.00932, section 2.2, with power ½.
    Deviation: the numbers are exact to one, not drawn; and any n_c successive draws of a class, across epochs too, are
    all of its images.
    """

    renamed_keys: ClassVar[Mapping[str, str]] = {"pictures": "images"}

    type: Literal["balanced"] = "balanced"
    power: float = Field(0.5, ge=0, le=1, description="0: all classes are used equally often; 1: all images are")
    images: int | None = Field(
        None, ge=1, description="images per epoch; null: the number of images, of each class up to max_per_class"
    )
    max_per_class: int | None = Field(None, ge=1, description="largest number of images of a class per epoch")
    max_repeats: int | None = Field(None, ge=1, description="how often an image is used at most per epoch")

    def steps(self, classes: Classes, batch_size: int) -> int:
        """Return the number of full batches."""
        total = self._total(classes.counts)
        return total // min(batch_size, total)

    def epoch(self, classes: Classes, batch_size: int, seed: int, epoch: int) -> RowIndices:
        """Return (steps, B) rows."""
        total = self._total(classes.counts)
        size, steps = min(batch_size, total), self.steps(classes, batch_size)
        expected = self.expected(classes.counts, steps * size)
        before = np.zeros(len(expected), np.int64)
        for earlier_epoch in range(1, epoch):
            before += _numbers(expected, seed, earlier_epoch)
        numbers = _numbers(expected, seed, epoch)
        label = epoch_generator(seed, epoch).permutation(np.repeat(np.arange(len(numbers)), numbers))
        rows = take_turns(classes, seed, before, numbers)
        place: NDArray[np.int64] = (np.cumsum(numbers) - numbers)[label] + occurrence_index(label)
        return rows[place.reshape(steps, size)]

    def expected(self, counts: Counts, total: int) -> NDArray[np.float64]:
        """Return each class's draws per epoch, (C,): in proportion to n^power within the limits, `total` together."""
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
        """Report the share of the data that an epoch uses, and how often images repeat."""
        counts = classes.counts
        expected = self.expected(counts, self.steps(classes, batch_size) * min(batch_size, self._total(counts)))
        often, seen = expected / counts, np.minimum(expected, counts).sum() / counts.sum()
        most = int(often.argmax())
        return [
            f"sampler balanced: an epoch uses {percent(float(seen))} of the images; an image of {names[most]!r} "
            f"({counts[most]:,} images) occurs {often[most]:.2g} times on average, an image of the largest class "
            f"{often[counts.argmax()]:.2g} times"
        ]

    def _limit(self, counts: Counts) -> Counts:
        limit = np.full(len(counts), UNLIMITED if self.max_per_class is None else self.max_per_class)
        return limit if self.max_repeats is None else np.minimum(limit, counts * self.max_repeats)

    def _total(self, counts: Counts) -> int:
        return min(self.images or int(limit_counts(counts, self.max_per_class).sum()), int(self._limit(counts).sum()))


def _numbers(expected: NDArray[np.float64], seed: int, epoch: int) -> Counts:
    """Round the expected numbers up or down to whole draws with the same sum, (C,): systematic sampling.

    A class is an interval on a line, as long as its expected number, and gets the whole numbers within the interval.
    The line is shifted from epoch to epoch, so that over epochs each class reaches its expected number.
    """
    shift = (epoch_generator(seed).random() + epoch * GOLDEN) % 1
    numbers = np.floor(expected).astype(np.int64)
    broken = np.flatnonzero(numbers < expected)  # whole numbers, such as the limits, do not change
    if len(broken):
        ends = np.cumsum(expected[broken] - numbers[broken])
        ends[-1] = round(ends[-1])
        numbers[broken] += np.diff(np.floor(ends + shift), prepend=np.floor(shift)).astype(np.int64)
    return numbers
