"""A threshold on the cosine for a wanted rate, how sure it is, and what it does on classes it was not chosen on."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special
from torch import Tensor

from eml.errors import DataError
from eml.retrieval.statistics.interval import CONFIDENCE, Estimate, Interval
from eml.retrieval.statistics.jackknife import interval_of_share, without_each
from eml.retrieval.verification.criteria import Criterion, DifferentPairs, TopAnswers, UnknownQueries
from eml.retrieval.verification.goal_checks import (
    Goal,
    notes_on,
    refuse_few_classes,
    refuse_stricter,
    too_few_classes,
    unreachable,
)
from eml.retrieval.verification.open_set import Asked, asked
from eml.retrieval.verification.pair_rates import Accepted, all_pairs
from eml.retrieval.verification.thresholds import Floats

SEED, RESAMPLES, RESAMPLES_OF_HALF, SPLITS = 28, 500, 200, 5
BINS = np.linspace(-1, 1, 201)
TIGHTER = np.linspace(1, 0, 41)[:-1]  # shares of the goal among which the threshold's is looked for


@dataclass(frozen=True)
class OpenSet:
    """Images to calibrate on. embeddings: (N, D), labels: (N,) 0…C−1; the others as of `open_set.answers`."""

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
        """The images of some classes, which are numbered anew in the order given."""
        number = np.full(self.classes, -1)
        number[codes] = np.arange(len(codes))
        kept = np.flatnonzero(number[self.labels] >= 0)
        place = np.full(len(self.labels), -1)
        place[kept] = np.arange(len(kept))
        queries, gallery = (each[each >= 0] for each in (place[self.queries], place[self.gallery]))
        groups, within = (None if each is None else each[kept] for each in (self.groups, self.within))
        return OpenSet(self.embeddings[kept], number[self.labels[kept]], queries, gallery, groups, within)


@dataclass(frozen=True)
class Calibrated:
    """threshold: with its interval. plain: the one at which just the classes at hand keep to the goal.

    measured: rates at the threshold, on the classes it was chosen on. held_out: the goal's rate on one half of the
    classes at the threshold chosen on the other, over several splits in halves, both ways; NaN where a half gives no
    threshold. same, different: (200,) pairs in bins of cosine 0.01 wide. notes: what to beware of.
    """

    goal: Goal
    threshold: Estimate
    plain: float
    measured: dict[str, Estimate]
    held_out: list[float]
    counts: dict[str, int]
    same: NDArray[np.int64]
    different: NDArray[np.int64]
    notes: list[str]


def calibrate(
    data: OpenSet,
    goal: Goal,
    *,
    strict: bool = False,
    seed: int = SEED,
    resamples: int = RESAMPLES,
    splits: int = SPLITS,
) -> Calibrated:
    """The lowest threshold that can be expected to keep to the goal on other classes, with a held-out check.

    See `chosen` for how it is chosen, and for its interval. strict: take the interval's upper end, to which most sets
    of other classes keep, not just their average. Images of a class stay together in resamples, since they are alike.
    Raises DataError where so few images or classes cannot show the rate, saying what they can, and where
    no threshold reaches the precision.
    """
    refuse_few_classes(data.classes)
    found, accepted = data.asked(), all_pairs(data.embeddings, data.labels)
    counts = _counts(data, found, accepted)
    refuse_stricter(goal, counts)
    criterion = criterion_of(goal, data, found, accepted)
    plain = criterion.threshold(goal.value)
    if np.isnan(plain):
        raise DataError(unreachable(criterion, goal))
    choice = chosen(criterion, goal, resamples, seed)
    if np.isnan(choice.threshold.value):
        raise DataError(too_few_classes(goal, data.classes, choice.expected))
    threshold = choice.taken(strict)
    return Calibrated(
        goal,
        threshold,
        plain,
        measured(data, found, accepted, threshold.value),
        list(_held_out(data, found, goal, criterion, strict, splits, seed)),
        counts,
        *_histograms(accepted),
        notes_on(goal, counts, criterion, plain),
    )


@dataclass(frozen=True)
class Choice:
    """threshold: NaN where even the strictest does not keep to the goal. expected: rate on other classes at it."""

    threshold: Estimate
    expected: float

    def taken(self, strict: bool) -> Estimate:
        """The threshold, or with strict the upper end of its interval in its place."""
        return replace(self.threshold, value=self.threshold.interval.high) if strict else self.threshold


def chosen(criterion: Criterion, goal: Goal, resamples: int, seed: int) -> Choice:
    """The threshold at which the rate on other classes is expected to be the goal.

    At the threshold that just keeps to the goal on the classes at hand, other classes exceed it on average: the rate
    rises faster below a threshold than it falls above, so an error in the threshold does not even out. How much is seen
    from the classes at hand in the place of all there are, and resamples of them in theirs: the goal is tightened until
    the thresholds of the resamples keep to the goal on the classes at hand, on average (calibration by the bootstrap,
    Loh 1987, JASA 82, 155).
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
    if not len(good):
        nothing = Estimate(float("nan"), Interval(np.nan, np.nan, criterion.classes))
        return Choice(nothing, float(expected[-1]))
    value, there = float(thresholds[good[0]]), again.thresholds[:, good[0]]
    return Choice(Estimate(value, around(value, there, criterion.classes)), float(expected[good[0]]))


def around(threshold: float, again: Floats, classes: int) -> Interval:
    """The interval of a threshold, from those of resamples of the classes; NaN: has none.

    The ends of a t interval of the angle, the threshold's arc cosine, with the spread that the resamples' angles have
    and C − 1 degrees of freedom: near cosine 1 a threshold has less room above than below.
    """
    again = again[~np.isnan(again)]
    if len(again) < 2 or classes < 2:
        return Interval(np.nan, np.nan, classes)
    angle = np.arccos(min(1.0, threshold))
    reach = special.stdtrit(classes - 1, (1 + CONFIDENCE) / 2) * np.arccos(np.clip(again, -1, 1)).std(ddof=1)
    high = float(np.cos(max(0.0, angle - reach)))
    return Interval(float(np.cos(min(np.pi, angle + reach))), max(high, threshold), classes)


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


def measured(data: OpenSet, found: Asked, accepted: Accepted, threshold: float) -> dict[str, Estimate]:
    """The rates of `open_set.acceptance` at a threshold, each with its interval; shares of nothing are left out."""
    known = found.known
    top = known & (found.top >= threshold)
    counts = {
        "recognised": (top & found.right, known),
        "precision": (top & found.right, top),
        "accepted": (top, known),
    }
    rates = {
        name: _share(*(np.bincount(found.code[each], minlength=data.classes).astype(np.float64) for each in both))
        for name, both in counts.items()
        if both[1].any()
    }
    count = int(accepted.different[max(0, int(np.searchsorted(-accepted.threshold, -threshold, side="right")) - 1)])
    for each in (UnknownQueries.of(found), DifferentPairs.above(data.embeddings, data.labels, threshold, count)):
        value = each.rate(threshold)
        if not np.isnan(value):
            rates[each.key] = Estimate(value, interval_of_share(value, each.without_each(threshold)))
    return rates


def _share(some: Floats, of: Floats) -> Estimate:
    """Σ some / Σ of over classes, (C,) each."""
    value = float(some.sum() / of.sum())
    return Estimate(value, interval_of_share(value, without_each(some, of)))


def _held_out(
    data: OpenSet, found: Asked, goal: Goal, criterion: Criterion, strict: bool, splits: int, seed: int
) -> Iterator[float]:
    for both in class_halves(data.classes, splits, seed):
        one, other = (part_of(criterion, goal, data, found, codes) for codes in both)
        for chosen_on, measured_on in ((one, other), (other, one)):
            threshold = chosen(chosen_on, goal, RESAMPLES_OF_HALF, seed).taken(strict).value
            yield float("nan") if np.isnan(threshold) else measured_on.rate(threshold)


def _counts(data: OpenSet, found: Asked, accepted: Accepted) -> dict[str, int]:
    return {
        "images": len(data.labels),
        "classes": data.classes,
        "known_queries": int(found.known.sum()),
        "unknown_queries": int((found.stranger > -np.inf).sum()),
        "same_pairs": int(accepted.same[-1]),
        "different_pairs": int(accepted.different[-1]),
    }


def _histograms(accepted: Accepted) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(200,) same and different pairs in bins of cosine; what rounding puts beyond ±1 counts in the outermost."""
    place = np.clip(accepted.threshold, -1, 1)
    same, different = (
        np.histogram(place, BINS, weights=np.diff(each, prepend=0))[0].round().astype(np.int64)
        for each in (accepted.same, accepted.different)
    )
    return same, different
