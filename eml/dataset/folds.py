"""Folds for validation: the column `fold`, the same whatever the order of the rows."""

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.table import Table
from eml.errors import DataError

By = Literal["images", "class"]

K, RANDOM_SEED = 5, 28
ALWAYS_TRAIN = -1  # in no fold's validation


def add_folds(table: Table, k: int = K, random_seed: int = RANDOM_SEED, by: By = "images") -> pd.DataFrame:
    """The rows with `fold`, 0..k−1, or −1 (always train); a column `fold` that was there is replaced.

    by images: every class is spread over all folds; classes of fewer than k pictures get −1. by class: every class is
    in one fold. Raises DataError when there are too few classes or pictures for k folds.
    """
    if k < 2:
        raise DataError(f"--k must be at least 2, got {k}")
    columns = ["file_name", *(name for name in ("x_1", "y_1", "x_2", "y_2") if name in table.frame.columns)]
    ordered = table.frame.sort_values(columns, kind="stable")  # so that the order of the rows does not matter
    fold = (_by_images if by == "images" else _by_class)(table, ordered["label"], k, random_seed)
    return table.frame.assign(fold=pd.Series(fold, index=ordered.index))


def _by_images(table: Table, labels: "pd.Series[str]", k: int, seed: int) -> NDArray[np.int64]:
    from sklearn.model_selection import StratifiedKFold  # 1 s to import: only where it is needed

    counts = labels.map(labels.value_counts()).to_numpy()
    foldable = counts >= k
    largest = int(counts.max())
    if largest == 1:
        raise DataError(f"{table.name}: every class has one picture, which no fold can be made of. Give --by class")
    if not foldable.any():
        told = f"no class has {k} pictures, one for each fold; the largest has {largest:,}"
        raise DataError(f"{table.name}: {told}. Give --k {largest} or less, or --by class")
    fold = np.full(len(labels), ALWAYS_TRAIN, dtype=np.int64)
    rows = np.flatnonzero(foldable)
    codes = pd.factorize(labels.iloc[rows], sort=True)[0]
    for number, (_, validation) in enumerate(StratifiedKFold(k, shuffle=True, random_state=seed).split(rows, codes)):
        fold[rows[validation]] = number
    return fold


def _by_class(table: Table, labels: "pd.Series[str]", k: int, seed: int) -> NDArray[np.int64]:
    """Classes from the largest to the smallest (equal ones shuffled), k at a time, one to each fold.

    Of each k, the largest goes to the fold with the fewest pictures: the folds are even in classes and in pictures.
    """
    counts = labels.value_counts().sort_index()
    if len(counts) < k:
        advice = f"Give --k {len(counts)} or less, or --by images" if len(counts) > 1 else "Give --by images"
        classes = "1 class" if len(counts) == 1 else f"{len(counts):,} classes"
        raise DataError(f"{table.name}: has {classes} for {k} folds. {advice}")
    shuffled = np.random.default_rng(seed).permutation(len(counts))
    by_size = counts.iloc[shuffled].sort_values(ascending=False, kind="stable")
    pictures = np.zeros(k, dtype=np.int64)
    fold_of: dict[str, int] = {}
    for start in range(0, len(by_size), k):
        some = by_size.iloc[start : start + k]
        free = np.argsort(pictures, kind="stable")[: len(some)]
        fold_of |= dict(zip(some.index, free.tolist(), strict=True))
        pictures[free] += some.to_numpy()
    return np.array([fold_of[label] for label in labels], dtype=np.int64)
