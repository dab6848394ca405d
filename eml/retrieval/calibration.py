"""A threshold on the cosine for a wanted rate, how sure it is, and what it does on classes it was not chosen on."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from eml.errors import DataError
from eml.retrieval.criteria import (
    Criterion,
    DifferentPairs,
    Floats,
    TopAnswers,
    UnknownQueries,
    drawn,
    random_halves,
    shares,
)
from eml.retrieval.open_set import Asked, asked
from eml.retrieval.verification import Accepted, all_pairs

SEED, RESAMPLES, RESAMPLES_OF_HALF, SPLITS = 28, 500, 200, 5
CONFIDENCE = 0.95
FEWEST_CLASSES = 4  # two in each half
FEW_CLASSES = 20  # below which a bootstrap over classes is known to give intervals that are too narrow
FEW_ERRORS = 30  # for a rate within ±30 % with 90 % confidence: the rule of 30 (Doddington 2000)
BINS = np.linspace(-1, 1, 201)
TIGHTER = np.linspace(1, 0, 41)[:-1]  # shares of the goal among which the threshold's is looked for

Kind = Literal["far", "pair_far", "precision"]
OPTIONS: dict[Kind, str] = {"far": "--far", "pair_far": "--pair-far", "precision": "--precision"}


@dataclass(frozen=True)
class Goal:
    """What is wanted, of 0 < value < 1.

    far: share of unknown queries (of classes that are not in the gallery) that are accepted. pair_far: share of pairs
    of different classes that are accepted. precision: share of right ones among the accepted nearest pictures of
    queries whose class is in the gallery.
    """

    kind: Kind
    value: float


@dataclass(frozen=True)
class OpenSet:
    """Pictures to calibrate on. embeddings: (N, D), labels: (N,) 0…C−1; the others as of `open_set.answers`."""

    embeddings: Tensor
    labels: NDArray[np.int64]
    queries: NDArray[np.int64]
    gallery: NDArray[np.int64]
    groups: NDArray[np.int64] | None = None
    within: NDArray[np.int64] | None = None

    @property
    def classes(self) -> int:
        """C."""
        return int(self.labels.max()) + 1

    def asked(self) -> Asked:
        """Its queries and their answers."""
        return asked(self.embeddings, self.labels, self.queries, self.gallery, groups=self.groups, within=self.within)

    def among(self, codes: NDArray[np.int64]) -> "OpenSet":
        """The pictures of some classes, which are numbered anew in the order given."""
        number = np.full(self.classes, -1)
        number[codes] = np.arange(len(codes))
        kept = np.flatnonzero(number[self.labels] >= 0)
        place = np.full(len(self.labels), -1)
        place[kept] = np.arange(len(kept))
        queries, gallery = (each[each >= 0] for each in (place[self.queries], place[self.gallery]))
        groups, within = (None if each is None else each[kept] for each in (self.groups, self.within))
        return OpenSet(self.embeddings[kept], number[self.labels[kept]], queries, gallery, groups, within)


@dataclass(frozen=True)
class Interval:
    """A value and the interval that holds the middle 95 % of what resamples of the classes give."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Calibrated:
    """threshold: with its interval. plain: the one at which just the classes at hand keep to the goal.

    measured: rates at the threshold, on the classes it was chosen on. held_out: the goal's rate on one half of the
    classes at the threshold chosen on the other, over several splits in halves, both ways; NaN where a half gives no
    threshold. same, different: (200,) pairs in bins of cosine 0.01 wide. notes: what to beware of.
    """

    goal: Goal
    threshold: Interval
    plain: float
    measured: dict[str, Interval]
    held_out: list[float]
    counts: dict[str, int]
    same: NDArray[np.int64]
    different: NDArray[np.int64]
    notes: list[str]


def calibrate(
    data: OpenSet, goal: Goal, *, seed: int = SEED, resamples: int = RESAMPLES, splits: int = SPLITS
) -> Calibrated:
    """The lowest threshold that can be expected to keep to the goal on other classes, with a held-out check.

    See `chosen` for how it is chosen, and for its interval. Pictures of a class stay together in resamples, since they
    are alike. Raises DataError where so few pictures or classes cannot show the rate, saying what they can, and where
    no threshold reaches the precision.
    """
    if data.classes < FEWEST_CLASSES:
        raise DataError(
            f"{data.classes} classes: a threshold is chosen on half of the classes and checked on the other half, "
            f"which takes {FEWEST_CLASSES} at least"
        )
    found, accepted = data.asked(), all_pairs(data.embeddings, data.labels)
    counts = _counts(data, found, accepted)
    _refuse(goal, counts)
    criterion = criterion_of(goal, data, found, accepted)
    plain = criterion.threshold(goal.value)
    if np.isnan(plain):
        raise DataError(_unreachable(criterion, goal))
    choice = chosen(criterion, goal, resamples, seed)
    if np.isnan(choice.threshold.value):
        raise DataError(_too_few_classes(goal, data.classes, choice))
    return Calibrated(
        goal,
        choice.threshold,
        plain,
        measured(data, found, accepted, choice.threshold.value, resamples, seed),
        list(_held_out(data, found, goal, criterion, splits, seed)),
        counts,
        *_histograms(accepted),
        _notes(goal, counts, criterion, plain),
    )


@dataclass(frozen=True)
class Choice:
    """threshold: NaN where even the strictest does not keep to the goal. expected: rate on other classes at it."""

    threshold: Interval
    expected: float


def chosen(criterion: Criterion, goal: Goal, resamples: int, seed: int) -> Choice:
    """The threshold at which the rate on other classes is expected to be the goal.

    At the threshold that just keeps to the goal on the classes at hand, other classes exceed it on average: the rate
    rises faster below a threshold than it falls above, so an error in the threshold does not even out. How much is seen
    from the classes at hand in the place of all there are, and resamples of them in theirs: the goal is tightened until
    the thresholds of the resamples keep to the goal on the classes at hand, on average (calibration by the bootstrap,
    Loh 1987, JASA 82, 155). The interval is the threshold and the percentiles 2.5 and 97.5 of how far those of the
    resamples lie from their median (Efron & Tibshirani 1993, ch. 13).
    """
    rate = 1 - goal.value if goal.kind == "precision" else goal.value
    tighter = 1 - rate * TIGHTER if goal.kind == "precision" else rate * TIGHTER
    again = criterion.resampled(tighter, resamples, seed)
    expected = np.array(
        [np.mean(each[~np.isnan(each)]) if (~np.isnan(each)).any() else np.nan for each in again.rates.T]
    )
    keeps = expected >= goal.value if goal.kind == "precision" else expected <= goal.value
    thresholds = criterion.thresholds(tighter, np.ones(criterion.classes))
    good = np.flatnonzero(keeps & ~np.isnan(thresholds))
    place = int(good[0]) if len(good) else -1
    value = float(thresholds[place]) if len(good) else float("nan")
    there = again.thresholds[:, place]
    return Choice(interval(value, there + value - np.median(there[~np.isnan(there)])), float(expected[place]))


def criterion_of(goal: Goal, data: OpenSet, found: Asked, accepted: Accepted | None = None) -> Criterion:
    """What the goal's threshold is chosen by. accepted: counts of all pairs, if known, for a rate of pairs."""
    match goal.kind:
        case "far":
            return UnknownQueries.of(found)
        case "precision":
            return TopAnswers.of(found)
        case "pair_far":
            accepted = accepted or all_pairs(data.embeddings, data.labels)
            return DifferentPairs.for_rate(data.embeddings, data.labels, accepted, goal.value)


def part_of(criterion: Criterion, goal: Goal, data: OpenSet, found: Asked, codes: NDArray[np.int64]) -> Criterion:
    """The criterion of some of the classes alone, with a gallery of them alone."""
    if not isinstance(criterion, DifferentPairs):
        return criterion_of(goal, data, found.among(codes))
    some = criterion.among(codes)
    return some if some.reaches(goal.value) else criterion_of(goal, data.among(codes), found)


def class_halves(classes: int, splits: int, seed: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Two halves of the classes, drawn anew for each split."""
    random = np.random.default_rng(seed)
    for _ in range(splits):
        order = random.permutation(classes)
        yield np.sort(order[: classes // 2]), np.sort(order[classes // 2 :])


def interval(value: float, again: Floats) -> Interval:
    """The value and the percentiles of what resamples gave; those without a value are left out."""
    again = again[~np.isnan(again)]
    if not len(again):
        return Interval(value, float("nan"), float("nan"))
    # Of a threshold just above everything, or of equal values, nothing is to be interpolated.
    low, high = np.quantile(again, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], method="nearest")
    return Interval(value, float(low), float(high))


def measured(
    data: OpenSet, found: Asked, accepted: Accepted, threshold: float, resamples: int, seed: int
) -> dict[str, Interval]:
    """The rates of `open_set.acceptance` at a threshold, each with its interval; shares of nothing are left out."""
    known, unknown = found.known, found.stranger > -np.inf
    top, draws = known & (found.top >= threshold), drawn(data.classes, resamples, seed)
    counts = {
        "recognised": (top & found.right, known),
        "precision": (top & found.right, top),
        "accepted": (top, known),
    }
    rates = {name: _share(some, of, found.code, draws) for name, (some, of) in counts.items() if of.any()}
    if unknown.any():
        strangers = UnknownQueries.of(found)
        value = float((found.stranger[unknown] >= threshold).mean())
        halves = [strangers.within(half) for half in random_halves(data.classes, resamples, seed)]
        again = np.array([(each >= threshold).mean() for each in halves if len(each)])
        rates["false_accept_rate"] = interval(value, again * value / again.mean() if again.any() else again)
    count = int(accepted.different[max(0, int(np.searchsorted(-accepted.threshold, -threshold, side="right")) - 1)])
    pairs, at = DifferentPairs.above(data.embeddings, data.labels, threshold, count), np.array([threshold])
    again = np.array([pairs.rates(at, each)[0] for each in draws])
    return rates | {"pair_false_accept_rate": interval(pairs.rate(threshold), again)}


def _share(some: NDArray[np.bool_], of: NDArray[np.bool_], codes: NDArray[np.int64], draws: Floats) -> Interval:
    """Sum over queries of some / of, with the interval over draws of their classes."""
    classes = draws.shape[1]
    right, total = (np.bincount(codes[each], minlength=classes).astype(np.float64) for each in (some, of))
    return interval(float(right.sum() / total.sum()), shares(draws @ right, draws @ total))


def _held_out(data: OpenSet, found: Asked, goal: Goal, criterion: Criterion, splits: int, seed: int) -> Iterator[float]:
    for both in class_halves(data.classes, splits, seed):
        one, other = (part_of(criterion, goal, data, found, codes) for codes in both)
        for chosen_on, measured_on in ((one, other), (other, one)):
            threshold = chosen(chosen_on, goal, RESAMPLES_OF_HALF, seed).threshold.value
            yield float("nan") if np.isnan(threshold) else measured_on.rate(threshold)


def _counts(data: OpenSet, found: Asked, accepted: Accepted) -> dict[str, int]:
    return {
        "pictures": len(data.labels),
        "classes": data.classes,
        "known_queries": int(found.known.sum()),
        "unknown_queries": int((found.stranger > -np.inf).sum()),
        "same_pairs": int(accepted.same[-1]),
        "different_pairs": int(accepted.different[-1]),
    }


def _refuse(goal: Goal, counts: dict[str, int]) -> None:
    """DataError where half of the classes, on which the threshold is checked, would not show one error at the goal."""
    if not counts["known_queries"] and goal.kind == "precision":
        raise DataError("no query has a partner of its class in the gallery; a precision cannot be measured")
    least = {
        "far": 2 / max(1, counts["unknown_queries"]),
        "pair_far": 4 / counts["different_pairs"],
        "precision": 2 / max(1, counts["known_queries"]),
    }
    rate = 1 - goal.value if goal.kind == "precision" else goal.value
    if rate >= least[goal.kind] * (1 - 1e-9):
        return
    what = {
        "far": f"{counts['unknown_queries']:,} queries",
        "pair_far": f"{counts['different_pairs']:,} pairs of different classes",
        "precision": f"{counts['known_queries']:,} queries with a partner",
    }
    possible = [f"{OPTIONS[kind]} {_up(least[kind]):g} or more" for kind in ("far", "pair_far") if least[kind] < 0.5]
    if least["precision"] < 0.5:
        possible.append(f"--precision {1 - _up(least['precision']):g} or less")
    raise DataError(
        f"{OPTIONS[goal.kind]} {goal.value:g} cannot be shown by {what[goal.kind]}, of which half are to choose the "
        f"threshold and half to check it: less than one error is expected in a half. Possible with these pictures: "
        f"{', '.join(possible) or 'nothing'}. Give more pictures of more classes for a stricter goal"
    )


def _up(rate: float) -> float:
    """Rounded up to two digits."""
    digit = 10.0 ** (floor(log10(rate)) - 1)
    return ceil(rate / digit - 1e-9) * digit


def _unreachable(criterion: Criterion, goal: Goal) -> str:
    assert isinstance(criterion, TopAnswers)
    least = ceil(1 / (1 - goal.value) - 1e-9)
    right = np.cumsum(criterion.right)[least - 1 :] / np.arange(least, len(criterion.right) + 1)
    number = least + int(np.argmax(right))
    return (
        f"--precision {goal.value:g} is reached by no threshold that accepts {least:,} answers or more; the highest is "
        f"{floor(right.max() * 1e4) / 1e4:g}, with {number:,} accepted at {criterion.similarity[number - 1]:.4f}"
    )


def _too_few_classes(goal: Goal, classes: int, choice: Choice) -> str:
    return (
        f"{OPTIONS[goal.kind]} {goal.value:g} cannot be expected of other classes, so much do these {classes} differ: "
        f"the strictest threshold that resamples of them give leads to {choice.expected:.2g}. Give pictures of more "
        "classes, or a goal that is no stricter than that"
    )


def _notes(goal: Goal, counts: dict[str, int], criterion: Criterion, threshold: float) -> list[str]:
    notes = []
    number = {"far": "unknown_queries", "pair_far": "different_pairs", "precision": "known_queries"}[goal.kind]
    rate = 1 - goal.value if goal.kind == "precision" else goal.value
    if (errors := rate * counts[number]) < FEW_ERRORS:
        notes.append(
            f"about {errors:.0f} errors are expected at the goal; below {FEW_ERRORS} (the rule of 30) the rate is a "
            "rough figure"
        )
    if counts["classes"] < FEW_CLASSES:
        notes.append(f"{counts['classes']} classes: with fewer than {FEW_CLASSES} the intervals are too narrow")
    if isinstance(criterion, TopAnswers) and threshold <= criterion.similarity[-1]:
        notes.append("the precision is reached without refusing any answer; the threshold is the lowest cosine seen")
    return notes


def _histograms(accepted: Accepted) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(200,) same and different pairs in bins of cosine; what rounding puts beyond ±1 counts in the outermost."""
    place = np.clip(accepted.threshold, -1, 1)
    same, different = (
        np.histogram(place, BINS, weights=np.diff(each, prepend=0))[0].round().astype(np.int64)
        for each in (accepted.same, accepted.different)
    )
    return same, different
