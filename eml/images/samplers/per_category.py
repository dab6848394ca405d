"""P classes of K images, from the same category."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from eml.errors import DataError
from eml.images.samplers._class_batches import (
    InGroups,
    Plan,
    draw_batches,
    few_images,
    fewer_repeats,
    limits_to_try,
    occurrence_index,
    plan,
)
from eml.images.samplers.base import Classes, Counts, Rows, Sampler, percent, random_of


@dataclass(frozen=True)
class Shelf:
    """Classes that are in a batch together. members: (n,) classes. plan: of batches with one block of the shelf."""

    members: NDArray[np.int64]
    plan: Plan


class PerCategory(InGroups, Sampler):
    """P×K with classes that are hard to tell apart: the classes of a batch are of few categories, of one by default.

    As with per_class every image comes at least once an epoch, and none again before all of its class have come.
    Categories with too few classes for a batch are joined to one another as wholes; a class with images of several
    categories counts to that of most of them.
    """

    type: Literal["per_category"] = "per_category"
    column: str = Field(
        "category", description="of the table: what the classes of a batch share; `dataset` in a merged one"
    )
    categories: int = Field(1, ge=1, description="categories in a batch, with as many classes each")

    @property
    def category_column(self) -> str | None:
        """That of the config."""
        return self.column

    def check_batch_size(self, batch_size: int) -> None:
        """Whole groups, as many of each category, at least two of each."""
        unit = self.per_class * self.categories
        if batch_size % unit or batch_size < 2 * unit:
            lower = max(2, batch_size // unit) * unit
            wanted = f"{lower}" if batch_size < 2 * unit else f"{lower} or {lower + unit}"
            raise ValueError(
                f"batch_size must be a multiple of {unit}, sampler.per_class {self.per_class} × categories "
                f"{self.categories}, and at least twice that, got {batch_size}; set it to {wanted}"
            )

    def check(self, classes: Classes, batch_size: int, where: str) -> None:
        """Raises DataError with fewer classes, or fewer categories, than a batch has."""
        needed, available = self._per_block(batch_size), len(classes.counts)
        if available < needed * self.categories:
            raise DataError(
                f"{where}: {available} classes to train on; sampler 'per_category' needs {needed * self.categories} in "
                f"a batch (batch_size / per_class {self.per_class}). Set a smaller batch_size or a larger "
                "sampler.per_class"
            )
        found = len(self._shelves(classes, batch_size)[0])
        if found < self.categories:
            raise DataError(
                f"{where}: {found} categories (column {self.column!r}) have the {needed} classes that a batch takes of "
                f"each, smaller ones taken together; sampler 'per_category' needs {self.categories}. Set "
                f"sampler.categories: {found}, or a smaller batch_size"
            )

    def steps(self, classes: Classes, batch_size: int) -> int:
        """Batches in which every image has its place."""
        return self._outer(self._shelves(classes, batch_size)[0]).steps

    def epoch(self, classes: Classes, batch_size: int, seed: int, epoch: int) -> Rows:
        """(steps, P·K) rows; those of a category stand together, and within it those of a class."""
        shelves, random, groups = self._shelves(classes, batch_size)[0], random_of(seed, epoch), self.groups()
        outer, weight = self._outer(shelves), groups.taken(classes.counts)
        sizes = np.array([weight[shelf.members].sum() for shelf in shelves])
        shelf_of = draw_batches(outer, outer.steps, self.categories, sizes, random)  # (steps, categories)
        per_block = self._per_block(batch_size)
        blocks = np.bincount(shelf_of.reshape(-1), minlength=len(shelves))
        made = [
            shelf.members[draw_batches(shelf.plan, int(number), per_block, weight[shelf.members], random)]
            for shelf, number in zip(shelves, blocks, strict=True)
            if number
        ]
        place = (np.cumsum(blocks) - blocks)[shelf_of.reshape(-1)] + occurrence_index(shelf_of.reshape(-1))
        table = np.concatenate(made)[place].reshape(outer.steps, -1)
        return groups.rows(classes, table, seed, epoch)

    def notes(self, classes: Classes, batch_size: int, names: Sequence[str]) -> list[str]:
        """Repeats, and which categories could not have batches of their own."""
        pooled, counts = self._shelves(classes, batch_size)[1], classes.counts
        steps, repeats = self.steps(classes, batch_size), self._repeats(classes, batch_size)
        lines = [f"sampler per_category: {steps:,} batches an epoch, {percent(repeats)} of their images are repeats"]
        category = category_of_classes(classes)
        if pooled:
            lines.append(
                f"{pooled:,} of {len(np.unique(category[category >= 0])):,} categories have fewer than the "
                f"{self._per_block(batch_size)} classes that a batch takes of one, and share batches with each other. "
                "A larger sampler.categories or sampler.per_class, or a smaller batch_size, takes fewer of each"
            )
        if blank := int(np.count_nonzero(category < 0)):
            lines.append(f"{blank:,} of {len(counts):,} classes have no {self.column} and are taken as one more")
        if small := int(np.count_nonzero(counts < self.per_class)):
            lines.append(few_images(small, len(counts), self.per_class))
        caps = limits_to_try(self.per_class, int(self.groups().taken(counts).max()))
        return lines + fewer_repeats(repeats, {cap: self.limited(cap)._repeats(classes, batch_size) for cap in caps})

    def _repeats(self, classes: Classes, batch_size: int) -> float:
        return self.groups().repeats(classes.counts, self.steps(classes, batch_size) * batch_size)

    def _per_block(self, batch_size: int) -> int:
        return batch_size // self.per_class // self.categories

    def _outer(self, shelves: list[Shelf]) -> Plan:
        """Of batches out of blocks."""
        wanted, limit = (np.array([getattr(one.plan, what) for one in shelves]) for what in ("steps", "most"))
        return plan(wanted, limit, self.categories)

    def _shelves(self, classes: Classes, batch_size: int) -> tuple[list[Shelf], int]:
        """The shelves, and how many categories were too small for one of their own."""
        per_block, groups = self._per_block(batch_size), self.groups()
        category = category_of_classes(classes)
        order = np.argsort(category, kind="stable")
        found, first = np.unique(category[order], return_index=True)
        members = np.split(order, first[1:])
        apart = _put_together(members, classes.counts, per_block)
        shelves = [Shelf(each, groups.plan(classes.counts[each], per_block)) for each in apart]
        return shelves, sum(1 for name, each in zip(found, members, strict=True) if len(each) < per_block and name >= 0)


def _put_together(members: list[NDArray[np.int64]], counts: Counts, per_block: int) -> list[NDArray[np.int64]]:
    """The categories' classes, those of categories with fewer than a block joined until they are twice as many."""
    shelves = [each for each in members if len(each) >= per_block]
    small = [each for each in members if len(each) < per_block]
    small.sort(key=lambda each: float(counts[each].mean()))  # classes of like size together repeat less
    open_shelf: list[NDArray[np.int64]] = []
    for each in small:
        open_shelf.append(each)
        if sum(map(len, open_shelf)) >= 2 * per_block:
            shelves.append(np.concatenate(open_shelf))
            open_shelf = []
    if open_shelf:
        rest = np.concatenate(open_shelf)
        least = min(range(len(shelves)), key=lambda index: len(shelves[index]), default=None)
        if len(rest) >= per_block or least is None:
            shelves.append(rest)
        else:
            shelves[least] = np.concatenate([shelves[least], rest])
    return shelves


def category_of_classes(classes: Classes) -> NDArray[np.int64]:
    """(C,) the category of most of a class's images, of equals the first; −1: of none."""
    assert classes.categories is not None
    kinds = int(classes.categories.max()) + 2
    pairs, numbers = np.unique(classes.labels * kinds + classes.categories + 1, return_counts=True)
    order = np.lexsort((-pairs, numbers, pairs // kinds))  # the last of each class is the one
    last = order[np.flatnonzero(np.diff(pairs[order] // kinds, append=-1))]
    category: NDArray[np.int64] = pairs[last] % kinds - 1
    return category
