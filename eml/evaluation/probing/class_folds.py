"""Folds of whole classes, in which every class judges once."""

from dataclasses import replace

import numpy as np
import pandas as pd

from eml.dataset.columns import ALWAYS_TEST
from eml.dataset.splits.folds import add_folds
from eml.dataset.splits.usable import fold_problem, small_groups
from eml.dataset.table import Table
from eml.errors import DataError
from eml.retrieval.arrays import Integers

MANY_CLASSES = 72
"""From so many classes on a fifth of them judges at a time; below it a third, so that not too few do."""


def rows_to_probe(table: Table, most_images: int, seed: int) -> pd.DataFrame:
    """Return the rows of known identity that are not always in the test; of more than so many, whole classes drawn.

    Args:
        table: The table.
        most_images: The most rows to return, though never less than two classes of two images.
        seed: Draws the classes.

    Raises:
        DataError: There are fewer than two classes, or no class of two images.
    """
    frame = table.known.frame
    if "fold" in frame:
        frame = frame[frame["fold"] != ALWAYS_TEST]
    sizes = frame["label"].value_counts(sort=False).sort_index()
    if len(sizes) < 2 or sizes.max() < 2:
        text = f"{table.name}: ranking needs two classes, one of them with two images; there are {len(sizes):,}"
        raise DataError(f"{text} of at most {int(sizes.max()) if len(sizes) else 0}", code="too-few-classes")
    if len(frame) > most_images:
        order = np.random.default_rng(seed).permutation(len(sizes))
        order = order[np.argsort(sizes.to_numpy()[order] < 2, kind="stable")]  # classes that can be asked for first
        count = max(2, int((np.cumsum(sizes.to_numpy()[order]) <= most_images).sum()))
        frame = frame[frame["label"].isin(sizes.index[order[:count]])]
    return frame.reset_index(drop=True)


def class_folds(table: Table, frame: pd.DataFrame, seed: int) -> Integers | None:
    """Return the fold (N,) of each row: whole classes, those that share look-alikes together; None of too few classes.

    Args:
        table: The table.
        frame: Its rows.
        seed: Draws the folds.
    """
    rows = replace(table, frame=frame.drop(columns="fold", errors="ignore"))
    groups = small_groups(rows)
    usual = 5 if frame["label"].nunique() >= MANY_CLASSES else 3
    for k in range(usual, 1, -1):
        try:
            folds = add_folds(rows, k, seed, "class", groups)
        except DataError:
            continue
        if fold_problem(folds) is None:
            return folds["fold"].to_numpy(np.int64)
    return None
