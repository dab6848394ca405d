"""Choose among candidates by some classes, and judge by others what was chosen, so that the figure is not flattered.

With `HALVES` classes or more, half of them choose and half judge. With fewer, each class is judged once by what the
classes of the other folds choose, as in nested cross-validation (Varma & Simon 2006, doi:10.1186/1471-2105-7-91).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from eml.retrieval.arrays import Booleans, Floats, Integers
from eml.retrieval.statistics.interval import CONFIDENCE, Difference, Interval
from eml.retrieval.statistics.jackknife import paired

HALVES = 24
"""With as many classes or more, half choose and half judge."""
FOLDS = 8
"""Most folds of classes when they are fewer."""
ONE_ERROR = 0.6827
"""Confidence of an interval that reaches a standard error to both sides."""


@dataclass(frozen=True)
class ClassDivision:
    """Which classes choose, and which judge what these have chosen.

    Attributes:
        labels: (Q,) classes of the queries.
        parts: Pairs of (Q,) masks: the queries that choose, and those that judge; their classes are disjoint, and a
            query judges in one pair at most. Empty with fewer than two groups of classes.
        is_nested: Whether every class both judges and, for the other folds, chooses.
    """

    labels: Integers
    parts: tuple[tuple[Booleans, Booleans], ...]
    is_nested: bool

    @property
    def choosing(self) -> Booleans:
        """(Q,) whether a query takes part in the choice that is shipped: of nested folds, all do."""
        if self.is_nested or not self.parts:
            return np.ones(len(self.labels), bool)
        return self.parts[0][0]

    @property
    def judging(self) -> Booleans:
        """(Q,) whether a query judges."""
        mask = np.zeros(len(self.labels), bool)
        for _, judging in self.parts:
            mask |= judging
        return mask

    @property
    def text(self) -> str:
        """The division in words."""
        classes = len(np.unique(self.labels[self.judging]))
        if not self.parts:
            return "too few classes to judge a choice"
        if self.is_nested:
            return f"{classes} classes in {len(self.parts)} folds: each fold is judged by what the others choose"
        return f"{len(np.unique(self.labels[self.choosing]))} classes choose, {classes} others judge"


def divide_classes(labels: Integers, *, seed: int = 0, groups: Integers | None = None) -> ClassDivision:
    """Divide the classes of queries into those that choose and those that judge, at random.

    Args:
        labels: (Q,) integers, the classes of the queries.
        seed: Of the random division.
        groups: (Q,) integers, such as those of look-alike images, −1 for none: classes that share one stay together.
    """
    component = _components(labels, groups)
    groups_left, classes = len(np.unique(component)), len(np.unique(labels))
    if groups_left < 2:
        return ClassDivision(labels, (), is_nested=True)
    folds = 2 if classes >= HALVES else min(FOLDS, groups_left)
    fold = class_folds(labels, folds, seed=seed, groups=groups)
    if classes >= HALVES:
        return ClassDivision(labels, ((fold == 0, fold == 1),), is_nested=False)
    return ClassDivision(labels, tuple((fold != number, fold == number) for number in range(folds)), is_nested=True)


def class_folds(labels: Integers, folds: int, *, seed: int = 0, groups: Integers | None = None) -> Integers:
    """Return (Q,) the fold of each query, 0…folds−1, by whole classes at random, with about equally many classes each.

    Args:
        labels: (Q,) integers, the classes of the queries.
        folds: At most as many as there are classes.
        seed: Of the random division.
        groups: (Q,) integers, such as those of look-alike images, −1 for none: classes that share one stay together.
    """
    component = _components(labels, groups)
    codes = np.unique(component, return_inverse=True)[1]
    sizes = np.array([len(np.unique(labels[codes == code])) for code in range(codes.max(initial=-1) + 1)], np.int64)
    fold: Integers = _balanced(sizes, folds, np.random.default_rng(seed))[codes]
    return fold


def _components(labels: Integers, groups: Integers | None) -> Integers:
    """Return (Q,) the connected component of each query's class, where classes that share a group are connected."""
    classes = np.unique(labels, return_inverse=True)[1]
    if groups is None or not (groups >= 0).any():
        return classes
    within = groups >= 0
    ids = np.unique(groups[within], return_inverse=True)[1] + classes.max() + 1
    count = int(ids.max()) + 1
    edges = coo_array((np.ones(len(ids)), (classes[within], ids)), shape=(count, count))
    component: Integers = connected_components(edges, directed=False)[1][classes]
    return component


def _balanced(sizes: Integers, folds: int, random: np.random.Generator) -> Integers:
    """Return (G,) a fold for each group of classes, larger groups first, into the fold of fewest classes."""
    order = random.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    filled, fold = np.zeros(folds, np.int64), np.zeros(len(sizes), np.int64)
    for group in order:
        fold[group] = int(np.argmin(filled))
        filled[fold[group]] += sizes[group]
    return fold


def best_of(candidates: Mapping[str, Floats], mask: Booleans, order: Sequence[str] | None = None) -> str:
    """Return the candidate with the highest mean over the queries of a mask; of equal ones the first.

    Args:
        candidates: Name → (Q,) values, NaN for a query that does not count.
        mask: (Q,) the queries that choose.
        order: The names, simplest first; None: as they are in `candidates`.
    """
    names = list(candidates) if order is None else list(order)
    means = [float(np.nanmean(candidates[name][mask])) if np.isfinite(candidates[name][mask]).any() else -np.inf
             for name in names]  # fmt: skip
    return names[int(np.argmax(np.round(means, 9)))]


def preferred(candidates: Mapping[str, Floats], mask: Booleans, labels: Integers) -> str:
    """Return the first candidate that is not worse than the best one by more than a standard error (Breiman 1984).

    Args:
        candidates: Name → (Q,) values in [0, 1], NaN for a query that does not count; those to be preferred first.
        mask: (Q,) the queries that choose.
        labels: (Q,) their classes, over which the standard error is taken.
    """
    best = best_of(candidates, mask)
    for name, values in candidates.items():
        change = paired({"": values[mask]}, {"": candidates[best][mask]}, labels[mask], confidence=ONE_ERROR).get("")
        if name == best or (change is not None and change.interval.low <= 0):
            return name
    return best


def widened_confidence(comparisons: int, *, one_sided: bool = False) -> float:
    """Return the confidence of each of several intervals that miss together as rarely as one does (Bonferroni).

    Args:
        comparisons: How many there are.
        one_sided: Whether the only question is if the second is better, so that the interval's upper end cannot
            mislead; it is never narrower than that of a single comparison.
    """
    missed = (1 - CONFIDENCE) / max(1, comparisons)
    return max(CONFIDENCE, 1 - 2 * missed) if one_sided else 1 - missed


def judge(
    before: Floats, after: Floats, labels: Integers, comparisons: int = 1, *, one_sided: bool = False
) -> Difference:
    """Return the difference of two means with its interval over classes, widened for several comparisons (Bonferroni).

    Args:
        before: (Q,) values per query, NaN for one that does not judge.
        after: The same of what was chosen.
        labels: (Q,) the classes of the queries.
        comparisons: How many are judged on these classes.
        one_sided: As for `widened_confidence`.
    """
    confidence = widened_confidence(comparisons, one_sided=one_sided)
    difference = paired({"value": before}, {"value": after}, labels, confidence=confidence).get("value")
    return difference or Difference(np.nan, np.nan, Interval(np.nan, np.nan, 0))


@dataclass(frozen=True)
class JudgedChoice:
    """A choice among candidates, and the judgement on it.

    Attributes:
        before: The first candidate, the simplest, which another one has to beat.
        best: What the choosing classes choose.
        tried: Candidate → its mean over the choosing classes.
        judged: The difference between `before` and what was chosen, on the judging classes.
        values: (Q,) values of what was chosen, of the queries that judge; NaN for the others.
        division: The choosing and the judging classes.
        comparisons: How many comparisons the interval is widened for.
    """

    before: str
    best: str
    tried: dict[str, float]
    judged: Difference
    values: Floats
    division: ClassDivision
    comparisons: int = 1

    @property
    def is_better(self) -> bool:
        """Whether another candidate than the first was chosen, and the interval of its gain lies above 0."""
        return self.best != self.before and self.judged.interval.low > 0

    @property
    def chosen(self) -> str:
        """The candidate to take: the best one if it is better than the first, else the first."""
        return self.best if self.is_better else self.before

    def to_dict(self) -> dict[str, Any]:
        """Return the candidates, the choice and its interval for JSON."""
        return {
            "before": self.before,
            "best": self.best,
            "chosen": self.chosen,
            "tried": self.tried,
            **difference_facts(self.judged),
            "comparisons": self.comparisons,
            "classes": self.division.text,
        }


def difference_facts(difference: Difference) -> dict[str, Any]:
    """Return a difference for JSON, null for NaN."""
    low, high = difference.interval.low, difference.interval.high
    numbers = {"value_before": difference.before, "value": difference.after, "low": low, "high": high}
    return {
        **{name: float(number) if np.isfinite(number) else None for name, number in numbers.items()},
        "judging_classes": difference.interval.classes,
    }


def choose(
    candidates: Mapping[str, Floats],
    labels: Integers,
    *,
    simpler: Sequence[str] | None = None,
    seed: int = 0,
    groups: Integers | None = None,
    comparisons: int = 1,
) -> JudgedChoice:
    """Choose the best candidate by some classes, and judge by others whether it is better than the simplest.

    Args:
        candidates: Name → (Q,) values per query in [0, 1], NaN for a query that does not count.
        labels: (Q,) integers, the classes of the queries.
        simpler: The names, simplest first; None: as they are in `candidates`. The first is what others have to beat.
        seed: Of the division of the classes.
        groups: As for `divide_classes`.
        comparisons: How many comparisons are judged on the same classes in all, this one among them.
    """
    order = list(candidates) if simpler is None else list(simpler)
    division = divide_classes(labels, seed=seed, groups=groups)
    values = np.full(len(labels), np.nan)
    for choosing, judging in division.parts:
        values[judging] = candidates[best_of(candidates, choosing, order)][judging]
    before = np.where(division.judging, candidates[order[0]], np.nan)
    mask = division.choosing
    tried = {name: float(np.nanmean(candidates[name][mask])) for name in order}
    judged = judge(before, values, labels, comparisons)
    return JudgedChoice(order[0], best_of(candidates, mask, order), tried, judged, values, division, comparisons)
