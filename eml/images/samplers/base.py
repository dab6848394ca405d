"""What a sampler is, and how the images of a class take turns."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from eml.config import Choice

Counts = NDArray[np.int64]
Rows = NDArray[np.int64]

UNLIMITED = np.iinfo(np.int32).max  # sums of it stay within 64 bits


@dataclass(frozen=True)
class Classes:
    """labels: (N,) of the training rows, 0…C−1, each at least once. categories: (N,) from 0, −1 where blank."""

    labels: NDArray[np.int64]
    categories: NDArray[np.int64] | None = None

    @cached_property
    def counts(self) -> Counts:
        """(C,) images of each class."""
        return np.bincount(self.labels)

    @cached_property
    def first(self) -> Counts:
        """(C,) where each class begins when rows are in the order of their classes."""
        return np.cumsum(self.counts) - self.counts

    def grouped(self, rows: Rows) -> Rows:
        """The rows in the order of their classes, those of a class in the order given."""
        return rows[np.argsort(self.labels[rows], kind="stable")]


class Sampler(Choice):
    """The rows of every batch of an epoch, as a pure function of the classes, the batch size, the seed and the epoch.

    Numbers of images are of the training rows; what is held out does not count.
    """

    @property
    def category_column(self) -> str | None:
        """The table's column that `Classes.categories` comes from; None where it is not needed."""
        return None

    def check_batch_size(self, batch_size: int) -> None:
        """Raises ValueError, beginning with the field to blame, for a batch that the sampler cannot fill."""

    def check(self, classes: Classes, batch_size: int, where: str) -> None:
        """Raises DataError, naming the table `where`, for classes that the sampler cannot make batches of."""

    def steps(self, classes: Classes, batch_size: int) -> int:
        """Batches in an epoch, the same in every one."""
        raise NotImplementedError

    def epoch(self, classes: Classes, batch_size: int, seed: int, epoch: int) -> Rows:
        """(steps, B) rows. epoch: from 1."""
        raise NotImplementedError

    def notes(self, classes: Classes, batch_size: int, names: Sequence[str]) -> list[str]:
        """What the user should know before the run, a line each. names: of the C classes."""
        return []


def random_of(seed: int, epoch: int | None = None) -> np.random.Generator:
    """Random numbers of an epoch; without one, those that all epochs share."""
    source = np.random.SeedSequence(seed, spawn_key=(0,)) if epoch is None else np.random.SeedSequence([seed, epoch])
    return np.random.Generator(np.random.PCG64(source))


def at_most(counts: Counts, limit: int | None) -> Counts:
    """The counts, none above the limit."""
    return counts if limit is None else np.minimum(counts, limit)


def in_turn(classes: Classes, seed: int, start: Counts, taken: Counts) -> Rows:
    """(Σ taken,) rows, class after class: `taken` of each, from number `start` of a fixed random order on and round.

    Any n_c rows of a class that follow one another, over epochs too, are all its images.
    """
    fixed = classes.grouped(random_of(seed).permutation(len(classes.labels)))
    label = np.repeat(np.arange(len(taken)), taken)
    number = np.arange(len(label)) - np.repeat(np.cumsum(taken) - taken, taken)
    return fixed[classes.first[label] + (start[label] + number) % classes.counts[label]]


def epochs_share(classes: Classes, taken: Counts, seed: int, epoch: int) -> Rows:
    """(Σ taken,) rows that an epoch goes by, at most n_c of class c; those of the next epoch follow on them."""
    if np.array_equal(taken, classes.counts):
        return np.arange(len(classes.labels))
    return in_turn(classes, seed, (epoch - 1) * taken, taken)


def percent(share: float) -> str:
    """A share to be read."""
    return f"{share:.0%}" if share >= 0.01 or share == 0 else "less than 1%"
