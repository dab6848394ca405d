"""Batches of P distinct classes with K images each: how many there must be, who is in which, and which images."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from eml.config import Strict
from eml.images.samplers.base import UNLIMITED, Classes, Counts, Rows, at_most, epochs_share, percent, random_of

WORTH_TELLING = 0.1  # share of repeats that a limit must save to be named


@dataclass(frozen=True)
class Plan:
    """steps: batches of an epoch. wanted, limit: (n,) in how many of them each item comes at least and at most.

    most: more batches than these cannot be made within the limits.
    """

    steps: int
    wanted: Counts
    limit: Counts
    most: int


@dataclass(frozen=True)
class Groups:
    """Images come in groups of `size` of one class; max_per_class, max_repeats: as in the samplers' configs."""

    size: int
    max_per_class: int | None
    max_repeats: int | None

    def taken(self, counts: Counts) -> Counts:
        """(C,) images of each class that an epoch goes by."""
        return at_most(counts, self.max_per_class)

    def plan(self, counts: Counts, per_batch: int) -> Plan:
        """Of batches of `per_batch` classes that have `counts` images."""
        wanted = _ceil(self.taken(counts), self.size)
        return plan(wanted, self.limit(counts, wanted), per_batch)

    def limit(self, counts: Counts, wanted: Counts) -> Counts:
        """(C,) groups of each class at most; those that its images fill once are always granted."""
        if self.max_repeats is None:
            return np.full(len(counts), UNLIMITED)
        return np.maximum(wanted, self.taken(counts) * self.max_repeats // self.size)

    def repeats(self, counts: Counts, places: int) -> float:
        """Share of an epoch's places that have an image which was there before."""
        return max(0.0, 1 - int(self.taken(counts).sum()) / places)

    def rows(self, classes: Classes, table: NDArray[np.int64], seed: int, epoch: int) -> Rows:
        """(steps, P·size) rows for a table (steps, P) of classes.

        A class's images come in an order drawn for the epoch, and again in the same when it comes oftener: any n_c
        that follow one another are all of them, so that none is twice in a group before all are in it.
        """
        share, taken = epochs_share(classes, self.taken(classes.counts), seed, epoch), self.taken(classes.counts)
        order = classes.grouped(share[random_of(seed, epoch).permutation(len(share))])
        label = table.reshape(-1)
        first, nth = np.cumsum(taken) - taken, occurrence_index(label) * self.size
        number = (nth[:, None] + np.arange(self.size)) % taken[label][:, None]
        return order[first[label][:, None] + number].reshape(len(table), -1)


class InGroups(Strict):
    """What the samplers of classes in groups of images share; each stands beside their family."""

    per_class: int = Field(4, ge=2, description="images of each class in a batch")
    max_per_class: int | None = Field(
        None, ge=1, description="at most so many images of a class an epoch, others in the next; null: all"
    )
    max_repeats: int | None = Field(
        None,
        ge=1,
        description="an image comes at most so often an epoch, but to fill the last group of its class, and the epoch "
        "is as short as that needs; null: as often as the largest class's turn takes",
    )

    def groups(self) -> Groups:
        """Those of these settings."""
        return Groups(self.per_class, self.max_per_class, self.max_repeats)

    def limited(self, limit: int) -> Self:
        """With another max_per_class."""
        return self.model_copy(update={"max_per_class": limit})


def plan(wanted: Counts, limit: Counts, per_batch: int) -> Plan:
    """The fewest batches of `per_batch` distinct items in which each comes as often as wanted.

    Σ wanted / per_batch, or as many as the item wanted most needs: then the others come oftener, and where their limits
    do not allow it, the batches are fewer and not all that is wanted has its place.
    """
    fewest = max(-int(-wanted.sum() // per_batch), int(wanted.max()))
    most = _most_steps(limit, per_batch)
    return Plan(min(fewest, most), wanted, limit, most)


def _most_steps(limit: Counts, per_batch: int) -> int:
    """The largest S with Σ min(limit, S) ≥ per_batch·S, by bisection: the difference is concave in S."""
    low, high = 1, int(limit.sum()) // per_batch + 1
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (middle, high) if np.minimum(limit, middle).sum() >= per_batch * middle else (low, middle)
    return low


def draw_batches(
    made: Plan, steps: int, per_batch: int, weight: Counts, random: np.random.Generator
) -> NDArray[np.int64]:
    """(steps, per_batch) items by a plan, but for so many steps. weight: (n,) images of each item."""
    wanted, limit = np.minimum(made.wanted, steps), np.minimum(made.limit, steps)
    return timetable(allocate_counts(wanted, limit, steps * per_batch, weight, random), per_batch, random)


def allocate_counts(
    wanted: Counts, limit: Counts, total: int, weight: NDArray[np.int64], random: np.random.Generator
) -> Counts:
    """(n,) how often each item comes, `total` together: at least as wanted, at most `limit`, the rest by weight.

    The same multiple of its weight for each, as far as the bounds allow, so that images repeat alike. Where more is
    wanted than `total`, each gets less in proportion.
    """
    if (most := int(wanted.sum())) > total:
        wanted, limit = wanted * total // most, wanted
    low, high = 0.0, float(total + 1)
    for _ in range(60):
        middle = (low + high) / 2
        enough = np.clip((middle * weight).astype(np.int64), wanted, limit).sum() > total
        low, high = (low, middle) if enough else (middle, high)
    assert limit.sum() >= total
    counts = np.clip((low * weight).astype(np.int64), wanted, limit)
    while rest := total - int(counts.sum()):
        free = np.flatnonzero(counts < limit)
        counts[random.permutation(free)[:rest]] += 1
    return counts


def timetable(counts: Counts, per_batch: int, random: np.random.Generator) -> NDArray[np.int64]:
    """(S, per_batch) items: item i is in counts[i] of the S batches and nowhere twice, else at random.

    Σ counts must be S·per_batch and no count above S. The wrap-around rule, McNaughton 1959, doi:10.1287/mnsc.6.1.1:
    the items, each as often as it comes, are laid in a line in random order and cut into per_batch pieces of S, piece p
    filling place p of the batches. A piece is shuffled; only the item across a cut must keep out of the batches that
    it has in the piece before.
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
    """(n,) how often the same item stands before each."""
    order, counts = np.argsort(items, kind="stable"), np.bincount(items)
    found = np.empty_like(items)
    found[order] = np.arange(len(items)) - np.repeat(np.cumsum(counts) - counts, counts)
    return found


def few_images(small: int, classes: int, size: int) -> str:
    """The note on classes that do not fill a group."""
    return (
        f"{small:,} of {classes:,} classes have fewer than per_class {size} images, which come several times in a "
        f"batch. Leave them out with: eml filter --min-per-class {size}"
    )


def limits_to_try(size: int, largest: int) -> list[int]:
    """Values of max_per_class, in doublings, below the largest class."""
    return [size << power for power in range(32) if size << power < largest]


def fewer_repeats(repeats: float, by_limit: dict[int, float]) -> list[str]:
    """The note on a max_per_class that is worth it: the largest with about as few repeats as any. None: nothing."""
    least = min(by_limit.values(), default=repeats)
    if repeats - least < WORTH_TELLING:
        return []
    limit = max(each for each, share in by_limit.items() if share <= least + WORTH_TELLING / 2)
    return [
        f"sampler.max_per_class: {limit} takes at most so many images of a class an epoch, others in the next, and "
        f"has {percent(by_limit[limit])} repeats: in classes of uneven size the small ones repeat while the large last"
    ]


def _ceil(counts: Counts, size: int) -> Counts:
    return -(-counts // size)
