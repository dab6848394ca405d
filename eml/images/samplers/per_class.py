"""P classes of K images."""

from collections.abc import Sequence
from typing import Literal

from eml.errors import DataError
from eml.images.samplers._class_batches import InGroups, draw_batches, repeat_notes
from eml.images.samplers.base import Classes, RowIndices, Sampler, epoch_generator, percent


class PerClass(InGroups, Sampler):
    """P×K: every batch has batch_size / per_class classes with per_class images each.

    An epoch uses every image at least once, and none again before all of its class are used. It has as few batches as
    that allows. A class with fewer images than per_class repeats some of them within a batch.
    """

    type: Literal["per_class"] = "per_class"

    def check_batch_size(self, batch_size: int) -> None:
        """Require full groups, at least two."""
        size = self.per_class
        if batch_size % size or batch_size < 2 * size:
            lower = max(2, batch_size // size) * size
            nearest = f"{lower}" if batch_size < 2 * size else f"{lower} or {lower + size}"
            raise ValueError(
                f"batch_size must be a multiple of sampler.per_class {size}, and at least two of them, got "
                f"{batch_size}; set it to {nearest}"
            )

    def check(self, classes: Classes, batch_size: int, where: str) -> None:
        """Raise DataError when there are fewer classes than a batch needs."""
        available, needed = len(classes.counts), batch_size // self.per_class
        if available < needed:
            sizes = (size for size in range(2, batch_size // 2 + 1) if batch_size % size == 0)
            larger = next((size for size in sizes if batch_size // size <= available), None)
            raise DataError(
                f"{where}: {available} classes to train on; sampler 'per_class' needs {needed} in a batch (batch_size "
                f"{batch_size} / per_class {self.per_class}). Set batch_size: {available * self.per_class}"
                + (f", or sampler.per_class: {larger}" if larger else ""),
                code="too-few-classes",
                parameter="batch_size",
            )

    def steps(self, classes: Classes, batch_size: int) -> int:
        """Return the number of batches in which every image has a place."""
        return self.groups().plan(classes.counts, batch_size // self.per_class).steps

    def epoch(self, classes: Classes, batch_size: int, seed: int, epoch: int) -> RowIndices:
        """Return (steps, P·K) rows; the rows of a class are neighbours."""
        groups, per_batch, random = self.groups(), batch_size // self.per_class, epoch_generator(seed, epoch)
        plan = groups.plan(classes.counts, per_batch)
        table = draw_batches(plan, plan.steps, per_batch, groups.per_epoch(classes.counts), random)
        return groups.rows(classes, table, seed, epoch)

    def notes(self, classes: Classes, batch_size: int, names: Sequence[str]) -> list[str]:
        """Report repeats, their cause, and a setting that reduces them."""
        steps = self.steps(classes, batch_size)
        repeats = self._repeats(classes, batch_size)
        lines = [f"sampler per_class: {steps:,} batches per epoch, {percent(repeats)} of their images are repeats"]
        return lines + repeat_notes(
            classes.counts, self.groups(), repeats, lambda limit: self.limited(limit)._repeats(classes, batch_size)
        )

    def _repeats(self, classes: Classes, batch_size: int) -> float:
        places = self.steps(classes, batch_size) * batch_size
        return self.groups().repeats(classes.counts, places)
