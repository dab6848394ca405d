"""Choose splits and folds that can be trained on and measured with; the commands' hints and the report share it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from eml.dataset.columns import ALWAYS_TEST
from eml.dataset.duplicates.components import Indices
from eml.dataset.splits.folds import RANDOM_SEED, FoldBy, K, add_folds
from eml.dataset.splits.groups import group_rows
from eml.dataset.splits.split import TEST_RATIO, SplitTables, split_by_alternate, split_by_counts, split_by_ratio
from eml.dataset.table import Table
from eml.errors import DataError

RATIOS = (TEST_RATIO, 0.3, 0.4, 0.5)
SMALL_TABLE = 20_000  # rows that are compared in about a second
MOST_ALONE = 0.5
"""The largest share of classes that may keep a single image to train on while a fold is held out."""


@dataclass(frozen=True)
class FoldChoice:
    """Options of `eml kfold`."""

    k: int
    by: FoldBy

    @property
    def options(self) -> dict[str, str]:
        """The options that differ from their defaults."""
        return ({"by": self.by} if self.by != "images" else {}) | ({"k": str(self.k)} if self.k != K else {})

    @property
    def text(self) -> str:
        """The options in words: `5 folds by images`."""
        return f"{self.k} folds by {self.by}"


@dataclass(frozen=True)
class SplitChoice:
    """Options of `eml split`, and the sides that they give.

    Attributes:
        by: The strategy.
        test_ratio: With `ratio`: the share of the test.
        sides: The rows of both sides.
    """

    by: str
    test_ratio: float | None
    sides: SplitTables

    @property
    def options(self) -> dict[str, str]:
        """The strategy, and what differs from its defaults."""
        ratio = {} if self.test_ratio in (None, TEST_RATIO) else {"test_ratio": f"{self.test_ratio:g}"}
        return {"by": self.by} | ratio


def choose_split(table: Table, groups: Indices | None = None) -> SplitChoice | None:
    """Return the first split with two classes or more on both sides, some of several images; None if there is none.

    One whose training side can be divided into folds comes before all others.

    Args:
        table: The rows.
        groups: (N,) numbers, as from `group_rows`, that the strategy `ratio` keeps on one side.
    """
    table, groups = _known(table, groups)
    if table.frame.empty:
        return None
    without_folds: SplitChoice | None = None
    for by, ratio in [*(("ratio", ratio) for ratio in RATIOS), ("alternate", None), ("counts", None)]:
        try:
            if ratio is not None:
                sides = split_by_ratio(table, ratio, groups=groups)
            else:
                sides = split_by_alternate(table) if by == "alternate" else split_by_counts(table)
        except DataError:
            continue
        if _is_measurable(sides.train) and _is_measurable(sides.test):
            choice = SplitChoice(by, ratio, sides)
            present = table.frame["label"].isin(sides.train["label"]).to_numpy()
            if choose_folds(replace(table, frame=sides.train), None if groups is None else groups[present]):
                return choice
            without_folds = without_folds or choice
    return without_folds


def choose_folds(table: Table, groups: Indices | None = None) -> FoldChoice | None:
    """Return the first folds that nothing speaks against (`fold_problem`); None if there are none.

    By images where the median class has an image for each of the usual number of folds, else by class.

    Args:
        table: The rows.
        groups: (N,) numbers, as from `group_rows`.
    """
    table, groups = _known(table, groups)
    if table.frame.empty:
        return None
    for choice in _choices(table.frame):
        try:
            frame = add_folds(table, choice.k, by=choice.by, groups=groups)
        except DataError:
            continue
        if fold_problem(frame) is None:
            return choice
    return None


def _choices(frame: pd.DataFrame) -> Iterator[FoldChoice]:
    sizes = frame["label"].value_counts()
    usual, by_class = FoldChoice(K, "images"), FoldChoice(K, "class")
    yield from (usual, by_class) if sizes.median() >= K else (by_class, usual)
    yield from (FoldChoice(k, "images") for k in range(min(int(sizes.max()), K - 1), 2, -1))
    yield from (FoldChoice(k, "class") for k in range(K - 1, 1, -1))
    yield FoldChoice(2, "images")


def usable_folds(
    table: Table, k: int = K, random_seed: int = RANDOM_SEED, by: FoldBy = "images", groups: Indices | None = None
) -> pd.DataFrame:
    """Return `add_folds`, where each of the folds can be held out.

    Raises:
        DataError: It cannot be, or there are too few classes, images or groups; the error names options that work.
    """
    try:
        frame = add_folds(table, k, random_seed, by, groups)
    except DataError as error:
        if error.code == "out-of-range":
            raise
        if (choice := choose_folds(table, groups)) is None:
            raise
        problems = [f"{problem.partition('. Give ')[0]}. {_advice(choice)}" for problem in error.problems]
        raise DataError(problems, code=error.code, parameter=error.parameter) from None
    if (problem := fold_problem(frame[~table.is_unknown])) is None:
        return frame
    table, groups = _known(table, groups)
    largest = _largest_k(table, k, random_seed, by, groups)
    advice = f"Give `k={largest}` or less" if largest else _advice(choose_folds(table, groups))
    raise DataError(f"{table.name}: {k} folds by {by}: {problem}. {advice}", code="unusable-folds", parameter="k")


def _known(table: Table, groups: Indices | None) -> tuple[Table, Indices | None]:
    """Return the rows of known identity and their groups: the others are of no class, and change no split or fold."""
    return table.known, None if groups is None else groups[~table.is_unknown]


def _largest_k(table: Table, below: int, random_seed: int, by: FoldBy, groups: Indices | None) -> int | None:
    for k in range(below - 1, 1, -1):
        try:
            if fold_problem(add_folds(table, k, random_seed, by, groups)) is None:
                return k
        except DataError:
            continue
    return None


def _advice(choice: FoldChoice | None) -> str:
    if choice is None:
        return "No folds of these images can be validated on; train without validation (data.fold: null)"
    return f'Give `k={choice.k}` with `by="{choice.by}"`'


def small_groups(table: Table) -> Indices | None:
    """Return the groups of a small table's rows; None of a large one, whose splits and folds they hardly change."""
    return group_rows(table).ids if len(table.frame) <= SMALL_TABLE else None


def option_words(options: Mapping[str, str]) -> list[str]:
    """Return the words of a command line, such as `--test-ratio`, `0.3` of {"test_ratio": "0.3"}."""
    return [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]


def fold_problem(frame: pd.DataFrame, folds: Sequence[int] | None = None) -> str | None:
    """Return why one of the folds cannot be held out: nothing to train on, or nothing to measure; None if all can.

    Args:
        frame: Rows with `label` and `fold`.
        folds: The folds to check; None: all.
    """
    counts = pd.crosstab(frame["label"], frame["fold"])
    counts = counts.drop(columns=ALWAYS_TEST, errors="ignore")
    whole = counts.sum(axis=1)
    numbers = sorted(int(fold) for fold in frame["fold"].unique() if fold >= 0)
    for fold in numbers if folds is None else folds:
        held, train = counts[fold], whole - counts[fold]
        if (held > 0).sum() == 1:
            return f"fold {fold} holds one class, so every answer is right and nothing is measured"
        if (train > 0).sum() < 2:
            return f"fewer than two classes are left to train on while fold {fold} is held out"
        alone = int(((train == 1) & (whole > 1)).sum())
        if alone > MOST_ALONE * ((train > 0) & (whole > 1)).sum():
            return (
                f"{alone:,} of {(train > 0).sum():,} classes keep one image to train on while fold {fold} is held out"
            )
        if not ((held > 0) & ((train > 0) | (held > 1))).any():
            return f"no class of fold {fold} has another image to find"
    return None


def _is_measurable(frame: pd.DataFrame) -> bool:
    """Return whether there are two classes, and one of them has two images."""
    counts = frame["label"].value_counts()
    return len(counts) > 1 and int(counts.max()) > 1
