"""Classes for training and classes for the test: never a class on both sides, whatever the order of the rows."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.duplicates.components import Indices
from eml.dataset.problems import column_names, value_counts
from eml.dataset.splits.folds import row_order
from eml.dataset.splits.groups import joined_classes
from eml.dataset.table import Table
from eml.errors import DataError, Problem

MIN_N_SAMPLES, MAX_N_SAMPLES = 3, 50
TEST_RATIO = 0.2
RANDOM_SEED = 28


@dataclass(frozen=True)
class SideCounts:
    """Images and classes of one side of a split."""

    images: int
    classes: int
    smallest_class: int
    """Images."""
    largest_class: int
    """Images."""
    classes_of_one: int
    """Classes of one image."""
    unknown_images: int = 0
    """Images of unknown identity, which are not among `images`."""


@dataclass(frozen=True)
class SplitTables:
    """The rows of both sides, in the order of the table."""

    train: pd.DataFrame
    test: pd.DataFrame
    unknown_label: str | None = None
    """The label of images of unknown identity, which is no class and on both sides."""

    @property
    def train_counts(self) -> SideCounts:
        """Images and classes to train on."""
        return _side_counts(self.train, self.unknown_label)

    @property
    def test_counts(self) -> SideCounts:
        """Images and classes of the test."""
        return _side_counts(self.test, self.unknown_label)


@dataclass(frozen=True)
class SharedGroups:
    """Groups with images on both sides of a split."""

    groups: int
    train_images: int
    test_images: int
    test_classes: list[str]
    """Sorted."""


def class_counts(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `label, count` of every class, sorted by label."""
    counts = frame["label"].value_counts().sort_index()
    return pd.DataFrame({"label": counts.index, "count": counts.to_numpy()})


def split_by_counts(
    table: Table,
    min_n_samples: int = MIN_N_SAMPLES,
    max_n_samples: int = MAX_N_SAMPLES,
    groups: Indices | None = None,
) -> SplitTables:
    """Train on classes with min_n_samples to max_n_samples images; the others are the test.

    Args:
        table: The rows.
        min_n_samples: Fewest images of a training class.
        max_n_samples: Most images of a training class.
        groups: (N,) numbers, as from `group_rows`, by which images of unknown identity follow known ones.

    Raises:
        DataError: A bound is out of range, or a side is empty.
    """
    if not 1 <= min_n_samples <= max_n_samples:
        text = (
            f"`min_n_samples` {min_n_samples} and `max_n_samples` {max_n_samples}: "
            "the first must be at least 1 and at most the second"
        )
        raise DataError(text, code="out-of-range", parameter="min_n_samples")
    counts = class_counts(table.known.frame)
    trains = counts["count"].between(min_n_samples, max_n_samples)
    if trains.all() or not trains.any():
        text = _empty_side_by_counts(table, counts["count"], min_n_samples, max_n_samples)
        raise DataError(text, code="empty-side", parameter="min_n_samples")
    return _split(table, set(counts["label"][~trains]), groups)


def split_by_ratio(
    table: Table, test_ratio: float = TEST_RATIO, random_seed: int = RANDOM_SEED, groups: Indices | None = None
) -> SplitTables:
    """Draw a share of the classes as the test, stratified by class size.

    The classes, sorted by size, are cut into as many runs as the smaller side has classes, and one class of each run
    is drawn for that side. Classes that a group joins go to one side before the others are drawn, the most classes
    first, each time to the side that is further from its share.

    Args:
        table: The rows.
        test_ratio: Share of the classes, between 0 and 1.
        random_seed: Draws the classes.
        groups: (N,) numbers, as from `group_rows`.

    Raises:
        DataError: The ratio is out of range, or a side is empty.
    """
    if not 0 < test_ratio < 1:
        text = f"`test_ratio` must be between 0 and 1 (a share of the classes), got {test_ratio}"
        raise DataError(text, code="out-of-range", parameter="test_ratio")
    counts = class_counts(table.known.frame)
    test_size = round(test_ratio * len(counts))
    if not 0 < test_size < len(counts):
        side = "test" if test_size == 0 else "train"
        text = f"{table.name}: `test_ratio` {test_ratio:g} of {_classes(len(counts))} leaves none to {side}"
        raise DataError(f"{text}. {_ratio_advice(len(counts))}", code="empty-side", parameter="test_ratio")
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
        text = _all_joined(table, len(counts), side="train" if test else "test")
        raise DataError(text, code="empty-side", parameter="test_ratio")
    return _split(table, test, groups, random_seed)


def _draw_joined(
    table: Table, groups: Indices, ratio: float, test_size: int, random: np.random.Generator
) -> tuple[set[str], set[str]]:
    """Return (test classes, all classes) among those that groups join to others; at most test_size are the test."""
    codes, labels = pd.factorize(table.known.frame["label"], sort=True)
    unit = joined_classes(codes.astype(np.int64), groups[~table.is_unknown])
    size = np.bincount(unit)
    several = random.permutation(np.flatnonzero(size > 1))
    test, seen, drawn = set[str](), 0, 0
    for number in several[np.argsort(-size[several], kind="stable")]:
        seen += size[number]
        if drawn + size[number] <= test_size and abs(drawn + size[number] - ratio * seen) < abs(drawn - ratio * seen):
            drawn += size[number]
            test |= set(labels[unit == number])
    return test, set(labels[size[unit] > 1])


def split_by_alternate(table: Table, groups: Indices | None = None) -> SplitTables:
    """Train on the classes at even indices of the sorted names; those at odd indices are the test.

    Args:
        table: The rows.
        groups: (N,) numbers, as from `group_rows`, by which images of unknown identity follow known ones.

    Raises:
        DataError: There is only one class.
    """
    labels = sorted(set(table.known.frame["label"]))
    if len(labels) < 2:
        text = f"{table.name}: has {_classes(len(labels))}, which leaves none to test; a split needs two"
        raise DataError(text, code="too-few-classes")
    return _split(table, labels[1::2], groups)


_SAME_CLASSES = (
    "write -2 for the test's rows and -1 for the others into a column 'fold', or make a table of each side; then run: "
    "eml init TABLE --task closed"
)
"""Advice for a test with the classes of training, such as by shop, camera or date."""


def split_by_column(table: Table, column: str) -> SplitTables:
    """Split by a column that says `train` or `test` in every row, also of images of unknown identity.

    Raises:
        DataError: The column does not exist or has other values, a class is on both sides, or a side is empty.
    """
    frame = table.frame
    if column not in frame.columns:
        text = f"{table.name}: has no column '{column}'; it has {column_names(frame.columns)}"
        raise DataError(text, code="missing-column", parameter="column")
    side = frame[column].astype(str)
    counts = value_counts(side)
    problems = []
    if not side.isin(["train", "test"]).all():
        text = f"{table.name}: column '{column}' must be 'train' or 'test' in every row, found {counts}"
        if not side.isin(["train", "test"]).any():
            text += f". To test on one of these with the classes of training, {_SAME_CLASSES}"
        problems.append(Problem(text, "invalid-value", "column"))
    elif side[~table.is_unknown].nunique() < 2:
        text = f"{table.name}: column '{column}' leaves a side empty, found {counts}"
        problems.append(Problem(text, "empty-side", "column"))
    known = frame["label"].mask(table.is_unknown).dropna()
    both = sorted(set(known[side == "train"]) & set(known[side == "test"]))
    if both:
        named = ", ".join(map(repr, both[:10])) + (f" and {len(both) - 10:,} more" if len(both) > 10 else "")
        text = f"{table.name}: column '{column}' puts {_classes(len(both))} on both sides: {named}"
        advice = "The test measures classes that the model has not seen: put each class on one side"
        same = f"For a test with the same classes, such as by shop, camera or date, {_SAME_CLASSES}"
        problems.append(Problem(f"{text}. {advice}. {same}", "class-on-both-sides", "column"))
    if problems:
        raise DataError(problems)
    return _split(table, set(known[side == "test"]), unknown_tests=side == "test")


def rows_on_both_sides(table: Table, sides: SplitTables, groups: Indices) -> NDArray[np.bool_]:
    """Return (N,) whether the group of a row of `table` has rows of known identity, of which it is, on both sides."""
    known, tests = ~table.is_unknown, table.frame["label"].isin(set(sides.test["label"])).to_numpy()
    count = int(groups.max()) + 1
    in_test, in_train = (np.bincount(groups[known & side], minlength=count) > 0 for side in (tests, ~tests))
    return np.asarray((in_test & in_train)[groups] & known)


def shared_groups(table: Table, sides: SplitTables, groups: Indices) -> SharedGroups:
    """Count what groups have on both sides of a split of `table`; groups: (N,), as from `group_rows`."""
    rows = rows_on_both_sides(table, sides, groups)
    labels = table.frame["label"][rows]
    tests = labels.isin(set(sides.test["label"]))
    return SharedGroups(len(set(groups[rows])), int((~tests).sum()), int(tests.sum()), sorted(set(labels[tests])))


def _side_counts(frame: pd.DataFrame, unknown_label: str | None) -> SideCounts:
    sizes = frame["label"].value_counts()
    unknown = int(sizes.get(unknown_label, 0)) if unknown_label is not None else 0
    sizes = sizes.drop(index=[unknown_label], errors="ignore")
    ends = int(sizes.min()), int(sizes.max()), int((sizes == 1).sum())
    return SideCounts(int(sizes.sum()), len(sizes), *ends, unknown)


def _split(
    table: Table,
    test: Collection[str],
    groups: Indices | None = None,
    random_seed: int = RANDOM_SEED,
    unknown_tests: "pd.Series[bool] | None" = None,
) -> SplitTables:
    """Return the sides: `test` has the classes of the test, and images of unknown identity go by `unknown_tests`.

    None puts each where the known images of its group are, and draws of the others the share that the test has of the
    known images.
    """
    tests = table.frame["label"].isin(list(test)).to_numpy()
    if table.is_unknown.any():
        drawn = _draw_unknown(table, tests, groups, random_seed) if unknown_tests is None else unknown_tests
        tests = np.where(table.is_unknown, drawn, tests)
    train, test_rows = (table.frame[rows].reset_index(drop=True) for rows in (~tests, tests))
    return SplitTables(train, test_rows, table.unknown_label)


def _draw_unknown(
    table: Table, tests: NDArray[np.bool_], groups: Indices | None, random_seed: int
) -> NDArray[np.bool_]:
    """Return (N,) whether an image of unknown identity goes to the test; without meaning for the other rows.

    Args:
        table: The rows.
        tests: (N,) whether a row of known identity is of the test.
        groups: (N,) numbers, as from `group_rows`; the images of a group go to one side.
        random_seed: Draws the groups without an image of known identity.
    """
    unknown = table.is_unknown
    of = np.arange(len(tests)) if groups is None else groups
    count = int(of.max()) + 1
    known, in_test = np.bincount(of[~unknown], minlength=count), np.bincount(of[~unknown & tests], minlength=count)
    side = (known > 0) & (known == in_test)  # of each group; to train where it has images on both sides
    sizes = np.bincount(of[unknown], minlength=count)
    order = row_order(table.frame)
    rest = of[order][unknown[order]]
    rest = np.array(list(dict.fromkeys(rest[known[rest] == 0].tolist())), np.int64)  # in the order of the file names
    rest = np.random.default_rng(random_seed).permutation(rest)
    share = float(tests[~unknown].mean())
    drawn = np.searchsorted(np.cumsum(sizes[rest]) - sizes[rest] / 2, share * sizes[rest].sum())
    side[rest[:drawn]] = True
    return np.asarray(side[of])


def _classes(count: int) -> str:
    return f"{count:,} class" if count == 1 else f"{count:,} classes"


def _all_joined(table: Table, classes: int, side: str) -> str:
    text = f"{table.name}: groups join {_classes(classes)}, which leaves none to {side}"
    return f"{text}. Give another `test_ratio`, fewer columns as `group_by`, a lower `threshold`, or `near=False`"


def _ratio_advice(classes: int) -> str:
    if classes < 2:
        return "A split needs two classes"
    least, most = f"{1 / classes:.2g}", f"{(classes - 1) / classes:.2g}"
    return f"Give the ratio {least}" if least == most else f"Give a ratio from {least} to {most}"


def _empty_side_by_counts(table: Table, counts: "pd.Series[int]", least: int, most: int) -> str:
    all_train = bool(counts.between(least, most).all())
    number, side = ("every", "test") if all_train else ("no", "train")
    text = f"{table.name}: {number} class has {_images(least, most)}, which leaves none to {side}"
    if len(counts) < 2:
        return f"{text}; its only class has {counts.iloc[0]:,}. A split needs two classes"
    ending = " each" if counts.min() == counts.max() else ""
    text += f"; its {len(counts):,} classes have {_images(counts.min(), counts.max())}{ending}."
    advice = ['`by="alternate"`']
    if round(TEST_RATIO * len(counts)) > 0:
        advice.insert(0, '`by="ratio"`')
    if counts.min() < counts.max():  # about half of the classes train, the largest never
        bound = min(counts.sort_values().iloc[(len(counts) - 1) // 2], counts[counts < counts.max()].max())
        low = least if counts.between(least, bound).any() else counts.min()
        advice.insert(0, f"`min_n_samples={low}` `max_n_samples={bound}`")
    return f"{text} These would work: {'; '.join(advice)}"


def _images(low: int, high: int) -> str:
    """Return `1 image`, `2 images`, `2 to 5 images`."""
    between = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return f"{between} {'image' if high == 1 else 'images'}"
