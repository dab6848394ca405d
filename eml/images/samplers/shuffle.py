"""All images, shuffled."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from eml.images.samplers.base import (
    Classes,
    RowIndices,
    Sampler,
    epoch_generator,
    limit_counts,
    percent,
    select_epoch_rows,
)


class Shuffle(Sampler):
    """Every image at most once, in random order.

    The images that do not fill the last batch are left out, different ones in each epoch. With fewer images than a
    batch, the batch consists of all of them.
    """

    type: Literal["shuffle"] = "shuffle"
    max_per_class: int | None = Field(
        None, ge=1, description="largest number of images of a class per epoch, other ones in the next; null: all"
    )

    def steps(self, classes: Classes, batch_size: int) -> int:
        """Return the number of full batches."""
        total = int(limit_counts(classes.counts, self.max_per_class).sum())
        return total // min(batch_size, total)

    def epoch(self, classes: Classes, batch_size: int, seed: int, epoch: int) -> RowIndices:
        """Return (steps, B) rows, none twice."""
        rows = select_epoch_rows(classes, limit_counts(classes.counts, self.max_per_class), seed, epoch)
        order = rows[epoch_generator(seed, epoch).permutation(len(rows))]
        size, steps = min(batch_size, len(rows)), self.steps(classes, batch_size)
        return order[: steps * size].reshape(steps, size)

    def notes(self, classes: Classes, batch_size: int, names: Sequence[str]) -> list[str]:
        """Report how much a limit leaves for later epochs."""
        left = 1 - limit_counts(classes.counts, self.max_per_class).sum() / len(classes.labels)
        if not left:
            return []
        above = int(np.count_nonzero(classes.counts > (self.max_per_class or 0)))
        return [
            f"sampler shuffle: {percent(left)} of the images, of {above:,} classes above max_per_class "
            f"{self.max_per_class}, are left for later epochs"
        ]
