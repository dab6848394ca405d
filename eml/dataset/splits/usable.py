"""Choose splits and folds that can be trained on and measured with; the commands' hints and the report share it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from eml.dataset.columns import ALWAYS_TEST
from eml.dataset.duplicates.components import Indices
from eml.dataset.splits.folds import RANDOM_SEED, FoldBy, K, add_folds
from eml.dataset.splits.groups import group_rows
from eml.dataset.splits.split import TEST_RATIO, SplitTables, split_by_alternate, split_by_counts, split_by_ratio
from eml.dataset.splits.task import USUAL, Task, folds_rule, number_of_folds, too_few_rule
from eml.dataset.table import Table
from eml.errors import DataError

RATIOS = (TEST_RATIO, 0.3, 0.4, 0.5)
SMALL_TABLE = 20_000  # rows that are compared in about a second
MOST_ALONE = 0.5
"""The largest share of classes that may keep a single image to train on while a fold is held out."""


@dataclass(frozen=True)
class FoldChoice:
    """Folds of a table, and why these.

    Attributes:
        k: Their number.
        by: What they are made of.
        task: What the model is for.
        reason: The rule that chose them, or why it could not be kept; "" for a closed task.
    """

    k: int
    by: FoldBy
    task: Task = USUAL
    reason: str = ""

    @property
    def options(self) -> dict[str, str]:
        """The options of `eml kfold` that make them; of an open task it makes them by itself."""
        if self.task == "open":
            return {}
        by = {"by": self.by} if self.by != "images" else {}
        return {"task": self.task} | by | ({"k": str(self.k)} if self.k != K else {})

    @property
    def text(self) -> str:
        """The folds in words: `5 folds by images`."""
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


def choose_folds(
    table: Table, groups: Indices | None = None, task: Task = USUAL, k: int | None = None
) -> FoldChoice | None:
    """Return the first folds that nothing speaks against (`fold_problem`); None if there are none.

    For an open task whole classes are held out, where there are enough (`task.py` has the rule), with two classes of
    several images or more on each side where they can be; else images. For a closed task: by images where the median
    class has an image for each of the usual number of folds, else by class.

    Args:
        table: The rows.
        groups: (N,) numbers, as from `group_rows`.
        task: What the model is for.
        k: The number of folds; None: the first that works.
    """
    table, groups = _known(table, groups)
    if table.frame.empty:
        return None
    tried: dict[tuple[int, FoldBy], pd.DataFrame | None] = {}
    for choice, least in _choices(table.frame, task, k):
        if k not in (None, choice.k):
            continue
        if (key := (choice.k, choice.by)) not in tried:
            tried[key] = _folds_of(table, choice, groups)
        if (frame := tried[key]) is not None and _classes_on_each_side(frame) >= least:
            return choice
    return None


def _folds_of(table: Table, choice: FoldChoice, groups: Indices | None) -> pd.DataFrame | None:
    """Return the rows with the folds; None where these cannot be made, or one of them cannot be held out."""
    try:
        frame = add_folds(table, choice.k, by=choice.by, groups=groups)
    except DataError:
        return None
    return frame if fold_problem(frame) is None else None


def _choices(frame: pd.DataFrame, task: Task, k: int | None) -> Iterator[tuple[FoldChoice, int]]:
    """Yield folds to try, and the classes of several images that must be on each side of each of them."""
    if task == "closed":
        yield from ((choice, 0) for choice in _closed_choices(frame["label"].value_counts()))
        return
    rows = frame[frame["fold"] != ALWAYS_TEST] if "fold" in frame else frame
    sizes = rows["label"].value_counts()
    several = int((sizes > 1).sum())
    for least in (2, 1):
        for number in range(number_of_folds(several), 1, -1) if k is None else (k,):
            yield FoldChoice(number, "class", task, folds_rule(several, number, is_given=k is not None)), least
    by_images = [choice for choice in _closed_choices(sizes) if choice.by == "images"]
    by_images += [] if k is None else [FoldChoice(k, "images", task)]
    yield from ((replace(choice, task=task, reason=too_few_rule(several)), 0) for choice in by_images)


def _closed_choices(sizes: "pd.Series[int]") -> Iterator[FoldChoice]:
    """Yield the folds to try, the best first. sizes: images of each class."""
    usual, by_class = FoldChoice(K, "images", "closed"), FoldChoice(K, "class", "closed")
    yield from (usual, by_class) if sizes.median() >= K else (by_class, usual)
    yield from (FoldChoice(k, "images", "closed") for k in range(min(int(sizes.max()), K - 1), 2, -1))
    yield from (FoldChoice(k, "class", "closed") for k in range(K - 1, 1, -1))
    yield FoldChoice(2, "images", "closed")


def _classes_on_each_side(frame: pd.DataFrame) -> int:
    """Return the fewest classes of several images that are held out, or left to train on, with any of the folds."""
    rows = frame[frame["fold"] != ALWAYS_TEST]
    counts = pd.crosstab(rows["label"], rows["fold"])
    whole = counts.sum(axis=1)
    folds = [counts[fold] for fold in sorted(rows["fold"].unique()) if fold >= 0]
    return min(int((part > 1).sum()) for held in folds for part in (held, whole - held))


def usable_folds(
    table: Table,
    k: int = K,
    random_seed: int = RANDOM_SEED,
    by: FoldBy = "images",
    groups: Indices | None = None,
    task: Task = USUAL,
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
        if (choice := choose_folds(table, groups, task)) is None:
            raise
        problems = [f"{problem.partition('. Give ')[0]}. {_advice(choice)}" for problem in error.problems]
        raise DataError(problems, code=error.code, parameter=error.parameter) from None
    if (problem := fold_problem(frame[~table.is_unknown])) is None:
        return frame
    table, groups = _known(table, groups)
    largest = _largest_k(table, k, random_seed, by, groups)
    advice = f"Give `k={largest}` or less" if largest else _advice(choose_folds(table, groups, task))
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


def small_groups(table: Table, *, whole_classes: bool = False) -> Indices | None:
    """Return the groups of a small table's rows; None of a large one, whose splits and folds they hardly change."""
    return group_rows(table, whole_classes=whole_classes).ids if len(table.frame) <= SMALL_TABLE else None


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
