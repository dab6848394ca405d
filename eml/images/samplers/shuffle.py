"""Shuffled."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from eml.images.samplers.base import Classes, Rows, Sampler, at_most, epochs_share, percent, random_of


class Shuffle(Sampler):
    """Every image at most once, in random order.

    Those that do not fill the last batch are left out, others in each epoch; with fewer images than a batch, the
    batch is all of them.
    """

    type: Literal["shuffle"] = "shuffle"
    max_per_class: int | None = Field(
        None, ge=1, description="at most so many images of a class an epoch, others in the next; null: all"
    )

    def steps(self, classes: Classes, batch_size: int) -> int:
        """Whole batches."""
        total = int(at_most(classes.counts, self.max_per_class).sum())
        return total // min(batch_size, total)

    def epoch(self, classes: Classes, batch_size: int, seed: int, epoch: int) -> Rows:
        """(steps, B) rows, none twice."""
        rows = epochs_share(classes, at_most(classes.counts, self.max_per_class), seed, epoch)
        order = rows[random_of(seed, epoch).permutation(len(rows))]
        size, steps = min(batch_size, len(rows)), self.steps(classes, batch_size)
        return order[: steps * size].reshape(steps, size)

    def notes(self, classes: Classes, batch_size: int, names: Sequence[str]) -> list[str]:
        """How much a limit leaves for later epochs."""
        left = 1 - at_most(classes.counts, self.max_per_class).sum() / len(classes.labels)
        if not left:
            return []
        above = int(np.count_nonzero(classes.counts > (self.max_per_class or 0)))
        return [
            f"sampler shuffle: {percent(left)} of the images, of {above:,} classes above max_per_class "
            f"{self.max_per_class}, are left for later epochs"
        ]
