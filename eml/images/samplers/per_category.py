"""P classes of K images from the same category."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from eml.errors import DataError
from eml.images.samplers._class_batches import (
    BatchPlan,
    InGroups,
    draw_batches,
    occurrence_index,
    plan_batches,
    repeat_notes,
)
from eml.images.samplers.base import Classes, Counts, RowIndices, Sampler, epoch_generator, percent


@dataclass(frozen=True)
class ClassPool:
    """Classes that share batches. members: (n,) classes. plan: batches with one block of classes from the pool."""

    members: NDArray[np.int64]
    plan: BatchPlan


class PerCategory(InGroups, Sampler):
    """P×K with similar classes: the classes of a batch come from few categories, by default from one.

    As with per_class, an epoch uses every image at least once, and none again before all of its class are used.
    Whole categories with too few classes for a batch are merged. A class with images of several categories belongs to
    the category of most of them.
    """

    type: Literal["per_category"] = "per_category"
    column: str = Field(
        "category", description="the table's column that the classes of a batch share; `dataset` in a merged table"
    )
    categories: int = Field(1, ge=1, description="number of categories in a batch, with equally many classes")

    @property
    def category_column(self) -> str | None:
        """The config's column."""
        return self.column

    def check_batch_size(self, batch_size: int) -> None:
        """Require full groups, equally many of each category, at least two."""
        unit = self.per_class * self.categories
        if batch_size % unit or batch_size < 2 * unit:
            lower = max(2, batch_size // unit) * unit
            nearest = f"{lower}" if batch_size < 2 * unit else f"{lower} or {lower + unit}"
            raise ValueError(
                f"batch_size must be a multiple of {unit}, sampler.per_class {self.per_class} × categories "
                f"{self.categories}, and at least twice that, got {batch_size}; set it to {nearest}"
            )

    def check(self, classes: Classes, batch_size: int, where: str) -> None:
        """Raise DataError when there are fewer classes or categories than a batch needs."""
        needed, available = self._per_block(batch_size), len(classes.counts)
        if available < needed * self.categories:
            raise DataError(
                f"{where}: {available} classes to train on; sampler 'per_category' needs {needed * self.categories} in "
                f"a batch (batch_size / per_class {self.per_class}). Set a smaller batch_size or a larger "
                "sampler.per_class",
                code="too-few-classes",
                parameter="batch_size",
            )
        count = len(self._pools(classes, batch_size)[0])
        if count < self.categories:
            raise DataError(
                f"{where}: {count} categories (column {self.column!r}) have the {needed} classes that a batch uses of "
                f"each, with smaller categories merged; sampler 'per_category' needs {self.categories}. Set "
                f"sampler.categories: {count}, or a smaller batch_size",
                code="too-few-categories",
                parameter="sampler.categories",
            )

    def steps(self, classes: Classes, batch_size: int) -> int:
        """Return the number of batches in which every image has a place."""
        return self._pool_plan(self._pools(classes, batch_size)[0]).steps

    def epoch(self, classes: Classes, batch_size: int, seed: int, epoch: int) -> RowIndices:
        """Return (steps, P·K) rows; the rows of a category are neighbours, and within it the rows of a class."""
        pools, random, groups = self._pools(classes, batch_size)[0], epoch_generator(seed, epoch), self.groups()
        outer, weight = self._pool_plan(pools), groups.per_epoch(classes.counts)
        sizes = np.array([weight[pool.members].sum() for pool in pools])
        pool_of = draw_batches(outer, outer.steps, self.categories, sizes, random)  # (steps, categories)
        per_block = self._per_block(batch_size)
        blocks = np.bincount(pool_of.reshape(-1), minlength=len(pools))
        drawn = [
            pool.members[draw_batches(pool.plan, int(number), per_block, weight[pool.members], random)]
            for pool, number in zip(pools, blocks, strict=True)
            if number
        ]
        place = (np.cumsum(blocks) - blocks)[pool_of.reshape(-1)] + occurrence_index(pool_of.reshape(-1))
        table = np.concatenate(drawn)[place].reshape(outer.steps, -1)
        return groups.rows(classes, table, seed, epoch)

    def notes(self, classes: Classes, batch_size: int, names: Sequence[str]) -> list[str]:
        """Report repeats, and categories that have no batches of their own."""
        merged, counts = self._pools(classes, batch_size)[1], classes.counts
        steps, repeats = self.steps(classes, batch_size), self._repeats(classes, batch_size)
        lines = [f"sampler per_category: {steps:,} batches per epoch, {percent(repeats)} of their images are repeats"]
        category = category_of_classes(classes)
        if merged:
            lines.append(
                f"{merged:,} of {len(np.unique(category[category >= 0])):,} categories have fewer than the "
                f"{self._per_block(batch_size)} classes that a batch uses of a category, and share batches. "
                "With a larger sampler.categories or sampler.per_class, or a smaller batch_size, it uses fewer of each"
            )
        if blank := int(np.count_nonzero(category < 0)):
            lines.append(f"{blank:,} of {len(counts):,} classes have no {self.column} and form a category of their own")
        return lines + repeat_notes(
            classes.counts, self.groups(), repeats, lambda limit: self.limited(limit)._repeats(classes, batch_size)
        )

    def _repeats(self, classes: Classes, batch_size: int) -> float:
        return self.groups().repeats(classes.counts, self.steps(classes, batch_size) * batch_size)

    def _per_block(self, batch_size: int) -> int:
        return batch_size // self.per_class // self.categories

    def _pool_plan(self, pools: list[ClassPool]) -> BatchPlan:
        """Plan batches of blocks from the pools."""
        minimum = np.array([pool.plan.steps for pool in pools])
        maximum = np.array([pool.plan.most_steps for pool in pools])
        return plan_batches(minimum, maximum, self.categories)

    def _pools(self, classes: Classes, batch_size: int) -> tuple[list[ClassPool], int]:
        """Return the pools, and the number of categories that are too small for a pool of their own."""
        per_block, groups = self._per_block(batch_size), self.groups()
        category = category_of_classes(classes)
        order = np.argsort(category, kind="stable")
        names, first = np.unique(category[order], return_index=True)
        members = np.split(order, first[1:])
        merged = _merge_small(members, classes.counts, per_block)
        pools = [ClassPool(numbers, groups.plan(classes.counts[numbers], per_block)) for numbers in merged]
        return pools, sum(1 for name, own in zip(names, members, strict=True) if len(own) < per_block and name >= 0)


def _merge_small(members: list[NDArray[np.int64]], counts: Counts, per_block: int) -> list[NDArray[np.int64]]:
    """Return the categories' classes; categories smaller than a block are merged until they have twice as many."""
    pools = [numbers for numbers in members if len(numbers) >= per_block]
    small = [numbers for numbers in members if len(numbers) < per_block]
    small.sort(key=lambda numbers: float(counts[numbers].mean()))  # classes of similar size repeat less together
    pending: list[NDArray[np.int64]] = []
    for numbers in small:
        pending.append(numbers)
        if sum(map(len, pending)) >= 2 * per_block:
            pools.append(np.concatenate(pending))
            pending = []
    if pending:
        rest = np.concatenate(pending)
        least = min(range(len(pools)), key=lambda index: len(pools[index]), default=None)
        if len(rest) >= per_block or least is None:
            pools.append(rest)
        else:
            pools[least] = np.concatenate([pools[least], rest])
    return pools


def category_of_classes(classes: Classes) -> NDArray[np.int64]:
    """Return the category of most of a class's images, on a tie the first, (C,); −1: no category."""
    assert classes.categories is not None
    kinds = int(classes.categories.max()) + 2
    pairs, numbers = np.unique(classes.labels * kinds + classes.categories + 1, return_counts=True)
    order = np.lexsort((-pairs, numbers, pairs // kinds))  # the last of each class has the most images
    last = order[np.flatnonzero(np.diff(pairs[order] // kinds, append=-1))]
    category: NDArray[np.int64] = pairs[last] % kinds - 1
    return category
