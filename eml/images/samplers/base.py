"""The base of the family, and the order in which the images of a class take turns."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from eml.config import Choice

Counts = NDArray[np.int64]
RowIndices = NDArray[np.int64]

UNLIMITED = np.iinfo(np.int32).max  # its sums stay within 64 bits


@dataclass(frozen=True)
class Classes:
    """The classes of the training rows.

    labels: (N,), 0…C−1, each at least once. categories: (N,) from 0; −1 where the category is blank.
    """

    labels: NDArray[np.int64]
    categories: NDArray[np.int64] | None = None

    @cached_property
    def counts(self) -> Counts:
        """The number of images of each class, (C,)."""
        return np.bincount(self.labels)

    @cached_property
    def first(self) -> Counts:
        """The position at which each class begins when rows are sorted by class, (C,)."""
        return np.cumsum(self.counts) - self.counts

    def grouped(self, rows: RowIndices) -> RowIndices:
        """Sort rows by class; the rows of a class keep their order."""
        return rows[np.argsort(self.labels[rows], kind="stable")]


class Sampler(Choice):
    """The rows of every batch of an epoch, as a pure function of the classes, the batch size, the seed and the epoch.

    Numbers of images count training rows only, not the held-out ones.
    """

    @property
    def category_column(self) -> str | None:
        """The table's column for `Classes.categories`, or None when the sampler needs none."""
        return None

    def check_batch_size(self, batch_size: int) -> None:
        """Raise ValueError, which begins with the field to blame, for a batch that the sampler cannot fill."""

    def check(self, classes: Classes, batch_size: int, where: str) -> None:
        """Raise DataError, naming the table `where`, for classes from which the sampler cannot form batches."""

    def steps(self, classes: Classes, batch_size: int) -> int:
        """Return the number of batches in an epoch, which is the same in every epoch."""
        raise NotImplementedError

    def epoch(self, classes: Classes, batch_size: int, seed: int, epoch: int) -> RowIndices:
        """Return the (steps, B) rows of an epoch, counted from 1."""
        raise NotImplementedError

    def notes(self, classes: Classes, batch_size: int, names: Sequence[str]) -> list[str]:
        """Return lines that the user should know before the run. names: of the C classes."""
        return []


def epoch_generator(seed: int, epoch: int | None = None) -> np.random.Generator:
    """Return the random generator of an epoch, or without `epoch` the one that all epochs share."""
    source = np.random.SeedSequence(seed, spawn_key=(0,)) if epoch is None else np.random.SeedSequence([seed, epoch])
    return np.random.Generator(np.random.PCG64(source))


def limit_counts(counts: Counts, limit: int | None) -> Counts:
    """Return the counts, none above the limit."""
    return counts if limit is None else np.minimum(counts, limit)


def take_turns(classes: Classes, seed: int, start: Counts, numbers: Counts) -> RowIndices:
    """Return (Σ numbers,) rows, class by class, from a fixed random order that each class goes round and round.

    Any n_c successive rows of a class, across epochs too, are all its images.

    Args:
        classes: The classes.
        seed: The run's seed, which fixes the order.
        start: (C,) number of each class's rows that earlier epochs used.
        numbers: (C,) number of rows of each class.
    """
    fixed = classes.grouped(epoch_generator(seed).permutation(len(classes.labels)))
    label = np.repeat(np.arange(len(numbers)), numbers)
    turn = np.arange(len(label)) - np.repeat(np.cumsum(numbers) - numbers, numbers)
    return fixed[classes.first[label] + (start[label] + turn) % classes.counts[label]]


def select_epoch_rows(classes: Classes, numbers: Counts, seed: int, epoch: int) -> RowIndices:
    """Return the (Σ numbers,) rows of an epoch, at most n_c of class c; the next epoch continues after them."""
    if np.array_equal(numbers, classes.counts):
        return np.arange(len(classes.labels))
    return take_turns(classes, seed, (epoch - 1) * numbers, numbers)


def percent(share: float) -> str:
    """Format a share as a percentage."""
    return f"{share:.0%}" if share >= 0.01 or share == 0 else "less than 1%"
