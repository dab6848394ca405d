"""The images of a proof: some of each of many classes, the same ones each time."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.table import Table
from eml.errors import ConfigError, DataError
from eml.evaluation.retrieval_set import RetrievalSet, label_codes

IMAGES = 200
FEWEST = 4
PER_CLASS = 4
"""Images of a class, where there are classes enough: more classes say more about the interval than more images."""
SEED = 0


@dataclass(frozen=True)
class ProofImages:
    """The images that both models embed.

    Attributes:
        table: The table, which knows the folder of the images.
        frame: Its rows to embed, at least two of each class.
        chosen_from: Where they come from, in words, such as `fold 0 of folds.csv, held out`.
        trained_on: Whether the model is known to have been trained on them.
        requested: How many were requested.
    """

    table: Table
    frame: pd.DataFrame
    chosen_from: str
    trained_on: bool = False
    requested: int = IMAGES

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def classes(self) -> int:
        """The number of classes."""
        return int(self.frame["label"].nunique())

    def retrieval(self) -> RetrievalSet:
        """Return the images as queries, each of them compared with all others."""
        rows = np.arange(len(self.frame))
        return RetrievalSet(self.frame, label_codes(self.frame), rows, rows, "leave-one-out")


def choose_images(
    table: Table, *, count: int = IMAGES, chosen_from: str | None = None, trained_on: bool = False, seed: int = SEED
) -> ProofImages:
    """Return images of known identity of many classes, up to four of each; more of each where the classes are few.

    The choice depends on the names and labels of the images and the seed, and not on the order of the rows.

    Args:
        table: The images to choose from.
        count: How many images, at most; all of them where there are no more.
        chosen_from: Where they come from; None: the table's name.
        trained_on: Whether the model is known to have been trained on them.
        seed: Of the random choice.

    Raises:
        ConfigError: The count is below 4, two images of two classes.
        DataError: Fewer than two classes have two images.
    """
    if count < FEWEST:
        text = f"`prove_images` must be at least {FEWEST}, two images of two classes, got {count}"
        raise ConfigError(text, code="out-of-range", parameter="prove_images")
    frame = table.known.frame
    frame = frame[frame["label"].duplicated(keep=False)]
    frame = frame.sort_values(["label", "file_name"], kind="stable").reset_index(drop=True)
    if frame["label"].nunique() < 2:
        raise DataError(
            f"{table.name}: a proof compares images of at least two classes with two images each, and "
            f"{frame['label'].nunique()} class has so many here; give another table as `prove_on`",
            code="too-few-classes",
            parameter="prove_on",
        )
    rows = _spread(label_codes(frame), count, np.random.default_rng(seed))
    chosen = frame.iloc[rows].reset_index(drop=True)
    return ProofImages(table, chosen, table.name if chosen_from is None else chosen_from, trained_on, count)


def _spread(labels: NDArray[np.int64], count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Return at most `count` rows, ascending: the first images of classes in random order, then more of each class.

    Args:
        labels: (N,) 0…C−1, each of at least two rows.
        count: At least 4.
        random: Orders the classes and the images of each.
    """
    classes = int(labels.max()) + 1
    rank = random.permutation(classes)[labels]
    shuffled = random.permutation(len(labels))
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]  # by class, at random within it
    starts = np.searchsorted(labels[order], np.arange(classes))
    turn = np.empty(len(labels), np.int64)
    turn[order] = np.arange(len(labels)) - starts[labels[order]]
    first = min(PER_CLASS, count // 2)
    rows = np.lexsort((turn, rank, np.where(turn < first, 0, turn)))[:count]
    is_alone = np.bincount(labels[rows], minlength=classes)[labels[rows]] < 2  # it finds nothing
    return np.sort(rows[~is_alone])
