"""Classes for training and classes for the test: never a class on both sides, whatever the order of the rows."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.duplicates.duplicates import Indices
from eml.dataset.splits.groups import joined_classes
from eml.dataset.table import Table
from eml.errors import DataError

MIN_N_SAMPLES, MAX_N_SAMPLES = 3, 50
TEST_RATIO = 0.2
RANDOM_SEED = 28


@dataclass(frozen=True)
class Split:
    """The rows of both sides, in the order of the table."""

    train: pd.DataFrame
    test: pd.DataFrame


def class_counts(frame: pd.DataFrame) -> pd.DataFrame:
    """`label, count` of every class, sorted by label."""
    counts = frame["label"].value_counts().sort_index()
    return pd.DataFrame({"label": counts.index, "count": counts.to_numpy()})


def split_by_counts(table: Table, min_n_samples: int = MIN_N_SAMPLES, max_n_samples: int = MAX_N_SAMPLES) -> Split:
    """Classes with min_n_samples to max_n_samples images train, the rest are the test. DataError: a side is empty."""
    if not 1 <= min_n_samples <= max_n_samples:
        raise DataError(
            f"--min-n-samples {min_n_samples} and --max-n-samples {max_n_samples}: "
            "the first must be at least 1 and at most the second"
        )
    counts = class_counts(table.frame)
    trains = counts["count"].between(min_n_samples, max_n_samples)
    if trains.all() or not trains.any():
        raise DataError(_empty_side_by_counts(table, counts["count"], min_n_samples, max_n_samples))
    return _split(table, set(counts["label"][~trains]))


def split_by_ratio(
    table: Table, test_ratio: float = TEST_RATIO, random_seed: int = RANDOM_SEED, groups: Indices | None = None
) -> Split:
    """A share of the classes is the test, stratified by class size. DataError: a side is empty.

    The classes, sorted by size, are cut into as many runs as the smaller side has classes, and one of each run is
    drawn for that side. groups: (N,) numbers, as `group_rows` gives them; classes that a group joins go to one side,
    before the others are drawn, the most classes first, each time to the side that is further from its share.
    """
    if not 0 < test_ratio < 1:
        raise DataError(f"--test-ratio must be within 0 and 1 (a share of the classes), got {test_ratio}")
    counts = class_counts(table.frame)
    test_size = round(test_ratio * len(counts))
    if not 0 < test_size < len(counts):
        side = "test" if test_size == 0 else "train"
        told = f"{table.name}: --test-ratio {test_ratio:g} of {_classes(len(counts))} leaves none to {side}"
        raise DataError(f"{told}. {_ratio_advice(len(counts))}")
    random = np.random.default_rng(random_seed)
    by_size = counts["label"].to_numpy()[np.lexsort((random.permutation(len(counts)), counts["count"]))]
    test: set[str] = set()
    if groups is not None:
        test, joined = _draw_joined(table, groups, test_ratio, test_size, random)
        by_size = by_size[~np.isin(by_size, list(joined))]
        test_size = min(test_size - len(test), len(by_size))
    smaller = min(test_size, len(by_size) - test_size)
    drawn = {run[random.integers(len(run))] for run in np.array_split(by_size, smaller)} if smaller else set()
    test |= drawn if smaller == test_size else set(by_size) - drawn
    if not 0 < len(test) < len(counts):
        raise DataError(_one_joined_whole(table, len(counts), side="train" if test else "test"))
    return _split(table, test)


def _draw_joined(
    table: Table, groups: Indices, ratio: float, test_size: int, random: np.random.Generator
) -> tuple[set[str], set[str]]:
    """(those of the test, all) of the classes that groups join to others; at most test_size are the test."""
    codes, labels = pd.factorize(table.frame["label"], sort=True)
    unit = joined_classes(codes.astype(np.int64), groups)
    size = np.bincount(unit)
    several = random.permutation(np.flatnonzero(size > 1))
    test, seen, taken = set[str](), 0, 0
    for number in several[np.argsort(-size[several], kind="stable")]:
        seen += size[number]
        if taken + size[number] <= test_size and abs(taken + size[number] - ratio * seen) < abs(taken - ratio * seen):
            taken += size[number]
            test |= set(labels[unit == number])
    return test, set(labels[size[unit] > 1])


def split_by_alternate(table: Table) -> Split:
    """Of the sorted class names, those at even indices train and those at odd ones are the test."""
    labels = sorted(set(table.frame["label"]))
    if len(labels) < 2:
        raise DataError(f"{table.name}: has {_classes(len(labels))}, which leaves none to test; a split needs two")
    return _split(table, labels[1::2])


def split_by_column(table: Table, column: str) -> Split:
    """The column says `train` or `test` in every row. DataError: other values, a class on both sides, an empty one."""
    frame = table.frame
    if column not in frame.columns:
        raise DataError(f"{table.name}: has no column '{column}'; it has {', '.join(map(str, frame.columns))}")
    side = frame[column].astype(str)
    found = ", ".join(f"{count:,} of {value!r}" for value, count in side.value_counts().items())
    problems = []
    if not side.isin(["train", "test"]).all():
        problems.append(f"{table.name}: column '{column}' must be 'train' or 'test' in every row, found {found}")
    elif side.nunique() < 2:
        problems.append(f"{table.name}: column '{column}' leaves a side empty, found {found}")
    both = sorted(set(frame["label"][side == "train"]) & set(frame["label"][side == "test"]))
    if both:
        named = ", ".join(map(repr, both[:10])) + (f" and {len(both) - 10:,} more" if len(both) > 10 else "")
        advice = "A model is tested on classes that it has not seen: give each class one side"
        problems.append(f"{table.name}: column '{column}' puts {_classes(len(both))} on both sides: {named}. {advice}")
    if problems:
        raise DataError(problems)
    return _split(table, set(frame["label"][side == "test"]))


def leaking(table: Table, sides: Split, groups: Indices) -> NDArray[np.bool_]:
    """(N,) the rows of `table` whose group has rows on both sides."""
    tests = table.frame["label"].isin(set(sides.test["label"])).to_numpy()
    count = int(groups.max()) + 1
    both = (np.bincount(groups[tests], minlength=count) > 0) & (np.bincount(groups[~tests], minlength=count) > 0)
    return np.asarray(both[groups])


def _split(table: Table, test: Collection[str]) -> Split:
    tests = table.frame["label"].isin(list(test))
    return Split(table.frame[~tests].reset_index(drop=True), table.frame[tests].reset_index(drop=True))


def _classes(count: int) -> str:
    return f"{count:,} class" if count == 1 else f"{count:,} classes"


def _one_joined_whole(table: Table, classes: int, side: str) -> str:
    told = f"{table.name}: groups join {_classes(classes)} so that none is left to {side}"
    return f"{told}. Give another --test-ratio, fewer columns to --group-by, a lower --threshold, or --no-near"


def _ratio_advice(classes: int) -> str:
    if classes < 2:
        return "A split needs two classes"
    return f"Give a ratio from {1 / classes:.2g} to {(classes - 1) / classes:.2g}"


def _empty_side_by_counts(table: Table, counts: "pd.Series[int]", least: int, most: int) -> str:
    all_train = bool(counts.between(least, most).all())
    which, side = ("every", "test") if all_train else ("no", "train")
    told = f"{table.name}: {which} class has {least:,} to {most:,} images, which leaves none to {side}"
    if len(counts) < 2:
        return f"{told}; its only class has {counts.iloc[0]:,}. A split needs two classes"
    told += f"; its {len(counts):,} classes have {counts.min():,} to {counts.max():,} images."
    advice = ["--by alternate"]
    if round(TEST_RATIO * len(counts)) > 0:
        advice.insert(0, "--by ratio")
    if counts.min() < counts.max():  # about half of the classes train, the largest never
        bound = min(counts.sort_values().iloc[(len(counts) - 1) // 2], counts[counts < counts.max()].max())
        low = least if counts.between(least, bound).any() else counts.min()
        advice.insert(0, f"--min-n-samples {low} --max-n-samples {bound}")
    return f"{told} These would work: {'; '.join(advice)}"
