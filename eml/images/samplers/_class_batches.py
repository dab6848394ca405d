"""Batches of P distinct classes with K images each: the number of batches, their classes and their images."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from eml.config import Strict
from eml.images.samplers.base import (
    UNLIMITED,
    Classes,
    Counts,
    RowIndices,
    epoch_generator,
    limit_counts,
    percent,
    select_epoch_rows,
)

WORTH_A_NOTE = 0.1  # share of repeats that a limit must save to be recommended


@dataclass(frozen=True)
class BatchPlan:
    """The number of batches of an epoch, and how often each of n items occurs.

    steps: number of batches. minimum, maximum: (n,) number of batches that contain the item at least and at most.
    most_steps: largest number of batches that the maxima allow.
    """

    steps: int
    minimum: Counts
    maximum: Counts
    most_steps: int


@dataclass(frozen=True)
class ClassGroups:
    """Groups of `size` images of one class; max_per_class and max_repeats are those of the samplers' configs."""

    size: int
    max_per_class: int | None
    max_repeats: int | None

    def per_epoch(self, counts: Counts) -> Counts:
        """Return the number of different images of each class in an epoch, (C,)."""
        return limit_counts(counts, self.max_per_class)

    def plan(self, counts: Counts, per_batch: int) -> BatchPlan:
        """Plan batches of `per_batch` classes that have `counts` images."""
        minimum = _ceil_divide(self.per_epoch(counts), self.size)
        return plan_batches(minimum, self.maximum(counts, minimum), per_batch)

    def maximum(self, counts: Counts, minimum: Counts) -> Counts:
        """Return the largest number of groups of each class, (C,), at least those that its images fill once."""
        if self.max_repeats is None:
            return np.full(len(counts), UNLIMITED)
        return np.maximum(minimum, self.per_epoch(counts) * self.max_repeats // self.size)

    def repeats(self, counts: Counts, places: int) -> float:
        """Return the share of an epoch's places whose image has occurred before in the epoch."""
        return max(0.0, 1 - int(self.per_epoch(counts).sum()) / places)

    def rows(self, classes: Classes, table: NDArray[np.int64], seed: int, epoch: int) -> RowIndices:
        """Return (steps, P·size) rows for a table (steps, P) of classes.

        The images of a class occur in an order drawn for the epoch, and again in the same order when the class needs
        more: any n_c successive ones are all its images, so that none is twice in a group before all are in it.
        """
        numbers = self.per_epoch(classes.counts)
        rows = select_epoch_rows(classes, numbers, seed, epoch)
        order = classes.grouped(rows[epoch_generator(seed, epoch).permutation(len(rows))])
        label = table.reshape(-1)
        first, nth = np.cumsum(numbers) - numbers, occurrence_index(label) * self.size
        place = (nth[:, None] + np.arange(self.size)) % numbers[label][:, None]
        return order[first[label][:, None] + place].reshape(len(table), -1)


class InGroups(Strict):
    """The settings of samplers whose batches consist of groups; each extends this class along with the family."""

    per_class: int = Field(4, ge=2, description="images of each class in a batch")
    max_per_class: int | None = Field(
        None, ge=1, description="largest number of images of a class per epoch, other ones in the next; null: all"
    )
    max_repeats: int | None = Field(
        None,
        ge=1,
        description="how often an image is used at most per epoch, except to fill the last group of its class; a limit "
        "shortens the epoch; null: as often as the largest class requires",
    )

    def groups(self) -> ClassGroups:
        """Return the groups of these settings."""
        return ClassGroups(self.per_class, self.max_per_class, self.max_repeats)

    def limited(self, limit: int) -> Self:
        """Return the sampler with another max_per_class."""
        return self.model_copy(update={"max_per_class": limit})


def plan_batches(minimum: Counts, maximum: Counts, per_batch: int) -> BatchPlan:
    """Plan the fewest batches of `per_batch` distinct items in which each item reaches its minimum.

    These are Σ minimum / per_batch, or as many as the item with the largest minimum needs. In the second case the
    other items occur more often; where their maxima do not allow it, there are fewer batches, and some minima are not
    reached.
    """
    fewest = max(-int(-minimum.sum() // per_batch), int(minimum.max()))
    most = _most_steps(maximum, per_batch)
    return BatchPlan(min(fewest, most), minimum, maximum, most)


def _most_steps(maximum: Counts, per_batch: int) -> int:
    """Return the largest S with Σ min(maximum, S) ≥ per_batch·S, by bisection: the difference is concave in S."""
    low, high = 1, int(maximum.sum()) // per_batch + 1
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (middle, high) if np.minimum(maximum, middle).sum() >= per_batch * middle else (low, middle)
    return low


def draw_batches(
    plan: BatchPlan, steps: int, per_batch: int, weight: Counts, random: np.random.Generator
) -> NDArray[np.int64]:
    """Draw (steps, per_batch) items by a plan, for this number of steps. weight: (n,) images of each item."""
    minimum, maximum = np.minimum(plan.minimum, steps), np.minimum(plan.maximum, steps)
    return schedule_items(allocate_counts(minimum, maximum, steps * per_batch, weight, random), per_batch, random)


def allocate_counts(
    minimum: Counts, maximum: Counts, total: int, weight: NDArray[np.int64], random: np.random.Generator
) -> Counts:
    """Return how often each item occurs, (n,): between `minimum` and `maximum`, `total` together, the rest by weight.

    Each item occurs the same multiple of its weight, as far as the bounds allow, so that all images repeat equally
    often. If the minima exceed `total`, each is reduced in proportion.
    """
    if (least := int(minimum.sum())) > total:
        minimum, maximum = minimum * total // least, minimum
    low, high = 0.0, float(total + 1)
    for _ in range(60):
        middle = (low + high) / 2
        enough = np.clip((middle * weight).astype(np.int64), minimum, maximum).sum() > total
        low, high = (low, middle) if enough else (middle, high)
    assert maximum.sum() >= total
    counts = np.clip((low * weight).astype(np.int64), minimum, maximum)
    while rest := total - int(counts.sum()):
        free = np.flatnonzero(counts < maximum)
        counts[random.permutation(free)[:rest]] += 1
    return counts


def schedule_items(counts: Counts, per_batch: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Return (S, per_batch) items: item i is in counts[i] of the S batches, at random, and in none of them twice.

    Σ counts must be S·per_batch, and no count may exceed S. The wrap-around rule, McNaughton 1959,
    doi:10.1287/mnsc.6.1.1: the items, each repeated by its count, form a line in random order, which is cut into
    per_batch pieces of length S; piece p fills place p of the batches. Each piece is shuffled, except that an item
    across a cut must avoid the batches that it has in the piece before.
    """
    order = random.permutation(len(counts))
    line = np.repeat(order, counts[order]).reshape(per_batch, -1)
    places = np.empty_like(line)
    places[0] = random.permutation(line[0])
    for piece in range(1, per_batch):
        item, here = line[piece, 0], line[piece]
        before = places[piece - 1] == item if line[piece - 1, -1] == item else np.zeros(len(here), bool)
        across = int(np.searchsorted(here != item, True)) if before.any() else 0
        free = np.ones(len(here), bool)
        free[random.permutation(np.flatnonzero(~before))[:across]] = False
        places[piece] = item
        places[piece, free] = random.permutation(here[across:])
    return np.ascontiguousarray(places.T)


def occurrence_index(items: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each position how often its item occurs before it, (n,)."""
    order, counts = np.argsort(items, kind="stable"), np.bincount(items)
    index = np.empty_like(items)
    index[order] = np.arange(len(items)) - np.repeat(np.cumsum(counts) - counts, counts)
    return index


def repeat_notes(
    counts: Counts, groups: ClassGroups, repeats: float, repeats_with: Callable[[int], float]
) -> list[str]:
    """Return notes on classes that do not fill a group, and on a max_per_class that reduces repeats.

    repeats: share of repeats in an epoch. repeats_with: the same for another max_per_class.
    """
    lines = []
    if small := int(np.count_nonzero(counts < groups.size)):
        lines.append(
            f"{small:,} of {len(counts):,} classes have fewer than per_class {groups.size} images, which occur several "
            f"times in a batch. Leave them out with: eml filter DATASET --min-per-class {groups.size}"
        )
    largest = int(groups.per_epoch(counts).max())
    doublings = [groups.size << power for power in range(32) if groups.size << power < largest]
    by_limit = {limit: repeats_with(limit) for limit in doublings}
    least = min(by_limit.values(), default=repeats)
    if repeats - least >= WORTH_A_NOTE:
        best = max(limit for limit, share in by_limit.items() if share <= least + WORTH_A_NOTE / 2)
        lines.append(
            f"sampler.max_per_class: {best} uses at most {best} images of a class per epoch, other ones in the next, "
            f"and has {percent(by_limit[best])} repeats: small classes repeat until the largest is used up"
        )
    return lines


def _ceil_divide(counts: Counts, size: int) -> Counts:
    return -(-counts // size)
