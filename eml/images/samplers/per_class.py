"""P classes of K images."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from eml.errors import DataError
from eml.images.samplers._class_batches import InGroups, draw_batches, few_images, fewer_repeats, limits_to_try
from eml.images.samplers.base import Classes, Rows, Sampler, percent, random_of


class PerClass(InGroups, Sampler):
    """P×K: every batch has batch_size / per_class classes with per_class images each.

    In an epoch every image comes at least once, and none again before all of its class have come. The epoch has as
    few batches as that allows. A class with fewer images than per_class fills its place with repeats.
    """

    type: Literal["per_class"] = "per_class"

    def check_batch_size(self, batch_size: int) -> None:
        """Whole groups, at least two."""
        size = self.per_class
        if batch_size % size or batch_size < 2 * size:
            lower = max(2, batch_size // size) * size
            wanted = f"{lower}" if batch_size < 2 * size else f"{lower} or {lower + size}"
            raise ValueError(
                f"batch_size must be a multiple of sampler.per_class {size}, and at least two of them, got "
                f"{batch_size}; set it to {wanted}"
            )

    def check(self, classes: Classes, batch_size: int, where: str) -> None:
        """Raises DataError with fewer classes than a batch has."""
        available, needed = len(classes.counts), batch_size // self.per_class
        if available < needed:
            sizes = (size for size in range(2, batch_size // 2 + 1) if batch_size % size == 0)
            larger = next((size for size in sizes if batch_size // size <= available), None)
            raise DataError(
                f"{where}: {available} classes to train on; sampler 'per_class' needs {needed} in a batch (batch_size "
                f"{batch_size} / per_class {self.per_class}). Set batch_size: {available * self.per_class}"
                + (f", or sampler.per_class: {larger}" if larger else "")
            )

    def steps(self, classes: Classes, batch_size: int) -> int:
        """Batches in which every image has its place."""
        return self.groups().plan(classes.counts, batch_size // self.per_class).steps

    def epoch(self, classes: Classes, batch_size: int, seed: int, epoch: int) -> Rows:
        """(steps, P·K) rows; those of a class stand together."""
        groups, per_batch, random = self.groups(), batch_size // self.per_class, random_of(seed, epoch)
        plan = groups.plan(classes.counts, per_batch)
        table = draw_batches(plan, plan.steps, per_batch, groups.taken(classes.counts), random)
        return groups.rows(classes, table, seed, epoch)

    def notes(self, classes: Classes, batch_size: int, names: Sequence[str]) -> list[str]:
        """Repeats, what they come from, and what would make them fewer."""
        counts, steps = classes.counts, self.steps(classes, batch_size)
        repeats = self._repeats(classes, batch_size)
        lines = [f"sampler per_class: {steps:,} batches an epoch, {percent(repeats)} of their images are repeats"]
        if small := int(np.count_nonzero(counts < self.per_class)):
            lines.append(few_images(small, len(counts), self.per_class))
        caps = limits_to_try(self.per_class, int(self.groups().taken(counts).max()))
        return lines + fewer_repeats(repeats, {cap: self.limited(cap)._repeats(classes, batch_size) for cap in caps})

    def _repeats(self, classes: Classes, batch_size: int) -> float:
        places = self.steps(classes, batch_size) * batch_size
        return self.groups().repeats(classes.counts, places)
