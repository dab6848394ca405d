"""A threshold on the cosine for a goal, its interval, and what it does on classes that it was not chosen on.

The way from images to a threshold: `OpenSet.search` finds for each query the nearest positive and the nearest image of
other classes. A criterion (`make_criterion`) turns these, or all pairs of images, into a rate that depends on a
threshold. `choose_threshold` tightens the goal until thresholds of resamples of the classes meet it on average, so that
it can be expected to hold on other classes. `calibrate` does all of this and checks the result on held-out classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from eml.errors import DataError
from eml.retrieval.arrays import Booleans, Floats, Integers
from eml.retrieval.statistics import (
    CONFIDENCE,
    FEW_CLASSES,
    Estimate,
    Interval,
    interval_of_share,
    nest,
    shares_without_each,
)
from eml.retrieval.verification.criteria import Criterion, TopAnswers, UnknownQueries
from eml.retrieval.verification.different_pairs import DifferentPairs
from eml.retrieval.verification.goal_checks import (
    Goal,
    notes_on,
    refuse_few_classes,
    refuse_stricter,
    too_few_classes,
    unreachable,
)
from eml.retrieval.verification.open_set import OpenSet, OpenSetQueries
from eml.retrieval.verification.pair_counts import AcceptedPairs, all_pairs

SEED, RESAMPLES, RESAMPLES_OF_HALF, SPLITS = 28, 500, 200, 5
NO_PAIRS = "images of unknown identity are in no pair, so they play no part in this threshold"
BINS = np.linspace(-1, 1, 201)
TIGHTER = np.linspace(1, 0, 41)[:-1]  # shares of the goal's errors among which the threshold's is searched


NEVER_BELOW = {"accepted": ("recognised",), "precision": ("recognised",)}
"""Rate → the rates that it is never below: recognised is a part of accepted, and of more queries than precision."""


@dataclass(frozen=True)
class ThresholdCalibration:
    """A threshold for a goal, with the evidence for it.

    Attributes:
        goal: The goal.
        threshold: A cosine, with its 95 % interval.
        plain: The lowest threshold that meets the goal on the classes at hand.
        measured: Rate → estimate at the threshold, on the classes that it was chosen on; see `measure_rates`.
        held_out: The goal's rate on one half of the classes at the threshold chosen on the other, for several splits
            in halves and both ways; NaN where a half gives no threshold.
        counts: images, classes, known_queries, unknown_queries, same_pairs and different_pairs.
        same: (200,) pairs of the same class in bins of cosine, 0.01 wide, from −1 to 1.
        different: (200,) pairs of different classes in these bins.
        known: (200,) queries of known classes in these bins, by the cosine of their nearest image.
        unknown: (200,) queries of unknown classes in these bins, by that of their nearest image.
        notes: Sentences about what to beware of.
    """

    goal: Goal
    threshold: Estimate
    plain: float
    measured: dict[str, Estimate]
    held_out: list[float]
    counts: dict[str, int]
    same: Integers
    different: Integers
    known: Integers
    unknown: Integers
    notes: list[str]


def calibrate(
    data: OpenSet,
    goal: Goal,
    *,
    strict: bool = False,
    seed: int = SEED,
    resamples: int = RESAMPLES,
    splits: int = SPLITS,
    few_classes: bool = False,
) -> ThresholdCalibration:
    """Choose the lowest threshold that can be expected to meet the goal on other classes, and check it.

    Images of unknown identity are queries without a right answer, and distractors; each is drawn like a class. They
    are in no pair.

    `choose_threshold` says how it is chosen. Images of a class stay together in resamples and splits, since they are
    alike.

    Args:
        data: The images, their labels 0…C−1.
        goal: The goal.
        strict: Take the upper end of the threshold's interval, at which most sets of other classes meet the goal, not
            only their average.
        seed: Of resamples and splits.
        resamples: Resamples of the classes.
        splits: Splits of the classes in halves for the check.
        few_classes: Where fewer than 20 classes differ too much for a `far`, take the threshold above all that unknown
            queries reach, with a note, instead of an error.

    Raises:
        DataError: Embeddings are NaN, infinite or zero; all pairs are of one kind; so few images or classes cannot
            show the goal (the message says which goals they can show); or no threshold reaches the precision.
    """
    known = data.known
    refuse_few_classes(known.classes)
    notes = [NO_PAIRS] if goal.kind == "pair_far" and data.num_unknown else []
    data = known if goal.kind == "pair_far" else data
    queries, accepted = data.search(), all_pairs(known.embeddings, known.labels)
    counts = _counts(data, queries, accepted)
    refuse_stricter(goal, counts)
    criterion = make_criterion(goal, data, queries, accepted)
    plain = criterion.threshold(goal.value)
    if np.isnan(plain):
        raise DataError([unreachable(criterion, goal)])
    choice = choose_threshold(criterion, goal, resamples, seed)
    if np.isnan(choice.threshold.value):
        if not (few_classes and goal.kind == "far" and known.classes < FEW_CLASSES):
            raise DataError([too_few_classes(goal, known.classes, choice.expected)])
        notes = [*notes, f"{too_few_classes(goal, known.classes, choice.expected)}: it is above all scores until then"]
        choice = _strictest(queries, choice.expected)
    threshold = choice.final(strict)
    same, different = pair_histograms(accepted)
    return ThresholdCalibration(
        goal=goal,
        threshold=threshold,
        plain=plain,
        measured=measure_rates(known, queries, accepted, threshold.value),
        held_out=list(_held_out_rates(data, queries, goal, criterion, strict, splits, seed)),
        counts=counts,
        same=same,
        different=different,
        known=cosine_histogram(queries.top[queries.known]),
        unknown=cosine_histogram(queries.nearest_other_class[queries.nearest_other_class > -np.inf]),
        notes=notes + notes_on(goal, counts, criterion, plain),
    )


def _strictest(queries: OpenSetQueries, expected: float) -> "ThresholdChoice":
    """Return the threshold just above all cosines that queries of unknown classes reach, without an interval."""
    above = float(np.nextafter(queries.nearest_other_class.max(), np.float32(2)))
    return ThresholdChoice(Estimate(above, Interval(above, above, queries.classes)), expected)


@dataclass(frozen=True)
class ThresholdChoice:
    """A threshold that is chosen for a goal.

    Attributes:
        threshold: With its interval; NaN if even the strictest does not meet the goal.
        expected: The rate on other classes at the threshold.
    """

    threshold: Estimate
    expected: float

    def final(self, strict: bool) -> Estimate:
        """Return the threshold; if strict, with the upper end of its interval as its value."""
        return replace(self.threshold, value=self.threshold.interval.high) if strict else self.threshold


def choose_threshold(criterion: Criterion, goal: Goal, resamples: int, seed: int) -> ThresholdChoice:
    """Choose the threshold at which the rate on other classes is expected to be the goal.

    At the lowest threshold that meets the goal on the classes at hand, other classes exceed it on average: the rate
    rises faster below a threshold than it falls above, so errors in the threshold do not even out. To see by how much,
    the classes at hand stand for all classes and resamples of them for the classes at hand: the goal is tightened until
    the thresholds of the resamples meet the goal on the classes at hand, on average (calibration by the bootstrap, Loh
    1987, JASA 82, 155).

    Args:
        criterion: The rate as a function of the threshold.
        goal: The goal; of the criterion's rate.
        resamples: Resamples of the classes.
        seed: Of the resamples.
    """
    goals = goal.stricter(TIGHTER)
    resampled = criterion.resample(goals, resamples, seed)
    expected = np.array(
        [np.mean(rates[~np.isnan(rates)]) if (~np.isnan(rates)).any() else np.nan for rates in resampled.rates.T]
    )
    thresholds = criterion.thresholds(goals, np.ones(criterion.classes))
    good = np.flatnonzero(goal.is_met_by(expected) & ~np.isnan(thresholds))
    if not len(good):
        nothing = Estimate(float("nan"), Interval(np.nan, np.nan, criterion.classes))
        return ThresholdChoice(nothing, float(expected[-1]))
    first = int(good[0])
    value = float(thresholds[first])
    interval = threshold_interval(value, resampled.thresholds[:, first], criterion.classes)
    return ThresholdChoice(Estimate(value, interval), float(expected[first]))


def threshold_interval(threshold: float, resampled: Floats, classes: int) -> Interval:
    """Return the 95 % interval of a threshold from the thresholds of resamples of the classes.

    It is a t interval of the angle, the threshold's arc cosine, with the spread of the resamples' angles and C − 1
    degrees of freedom: near cosine 1 a threshold has less room above than below.

    Args:
        threshold: A cosine.
        resampled: (R,) cosines, NaN for a resample without a threshold.
        classes: The number of classes C.

    Returns:
        An interval of NaN with fewer than two thresholds or classes.
    """
    resampled = resampled[~np.isnan(resampled)]
    if len(resampled) < 2 or classes < 2:
        return Interval(np.nan, np.nan, classes)
    angle = np.arccos(min(1.0, threshold))
    reach = special.stdtrit(classes - 1, (1 + CONFIDENCE) / 2) * np.arccos(np.clip(resampled, -1, 1)).std(ddof=1)
    high = float(np.cos(max(0.0, angle - reach)))
    return Interval(float(np.cos(min(np.pi, angle + reach))), max(high, threshold), classes)


def make_criterion(
    goal: Goal, data: OpenSet, queries: OpenSetQueries, accepted: AcceptedPairs | None = None
) -> Criterion:
    """Return the criterion that the goal's threshold is chosen by.

    Args:
        goal: The goal.
        data: The images, their labels 0…C−1.
        queries: The result of `data.search()`.
        accepted: The counts of all pairs of the images, if known; they are needed for a rate of pairs.
    """
    match goal.kind:
        case "far":
            return UnknownQueries.from_queries(queries)
        case "precision":
            return TopAnswers.from_queries(queries)
        case "pair_far":
            accepted = accepted or all_pairs(data.embeddings, data.labels)
            return DifferentPairs.for_rate(data.embeddings, data.labels, accepted, goal.value)


def restrict_criterion(
    criterion: Criterion, goal: Goal, data: OpenSet, queries: OpenSetQueries, codes: Integers
) -> Criterion:
    """Return the criterion of some of the classes, with a gallery of these classes alone.

    Args:
        criterion: Of all classes.
        goal: The goal of the criterion.
        data: All images.
        queries: The result of `data.search()`.
        codes: Distinct classes.
    """
    if not isinstance(criterion, DifferentPairs):
        return make_criterion(goal, data, queries.among(codes))
    part = criterion.among(codes)
    return part if part.reaches(goal.value) else make_criterion(goal, data.among(codes), queries)


def split_classes(classes: int, splits: int, seed: int, unknown: int = 0) -> Iterator[tuple[Integers, Integers]]:
    """Yield two random halves of the labels 0…C−1, `splits` times; the last `unknown` of them are halved too."""
    random = np.random.default_rng(seed)
    for _ in range(splits):
        known = random.permutation(classes - unknown)
        parts = [known, classes - unknown + random.permutation(unknown)] if unknown else [known]
        yield (
            np.sort(np.concatenate([part[: len(part) // 2] for part in parts])),
            np.sort(np.concatenate([part[len(part) // 2 :] for part in parts])),
        )


def measure_rates(
    known: OpenSet, queries: OpenSetQueries, accepted: AcceptedPairs, threshold: float
) -> dict[str, Estimate]:
    """Measure the rates at a threshold, each with its 95 % interval.

    Args:
        known: The images of known identity, their labels 0…C−1.
        queries: The result of `search()` of all images.
        accepted: The counts of all pairs of known images.
        threshold: A cosine.

    Returns:
        recognised, precision, accepted, false_accept_rate and pair_false_accept_rate, defined as in
        `measure_acceptance`, without shares of nothing.
    """
    answerable = queries.known
    top = answerable & (queries.top >= threshold)
    shares = {
        "recognised": (top & queries.right, answerable),
        "precision": (top & queries.right, top),
        "accepted": (top, answerable),
    }
    rates = {name: share_of_queries(part, whole, queries) for name, (part, whole) in shares.items() if whole.any()}
    place = max(0, int(np.searchsorted(-accepted.threshold, -threshold, side="right")) - 1)
    pairs = DifferentPairs.above(known.embeddings, known.labels, threshold, int(accepted.different[place]))
    for criterion in (UnknownQueries.from_queries(queries), pairs):
        value = criterion.rate(threshold)
        if not np.isnan(value):
            interval = interval_of_share(value, criterion.rates_without_each(threshold))
            rates[criterion.key] = Estimate(value, interval)
    nested = nest({name: rate.interval for name, rate in rates.items()}, NEVER_BELOW)
    return {name: Estimate(rate.value, nested[name]) for name, rate in rates.items()}


def share_of_queries(part: Booleans, whole: Booleans, queries: OpenSetQueries) -> Estimate:
    """Return the share of the whole's queries that are in the part, with its interval over classes. Both: (Q,)."""
    parts, totals = (
        np.bincount(queries.labels[rows], minlength=queries.classes).astype(np.float64) for rows in (part, whole)
    )
    value = float(parts.sum() / totals.sum())
    return Estimate(value, interval_of_share(value, shares_without_each(parts, totals)))


def _held_out_rates(
    data: OpenSet, queries: OpenSetQueries, goal: Goal, criterion: Criterion, strict: bool, splits: int, seed: int
) -> Iterator[float]:
    for halves in split_classes(data.classes, splits, seed, data.num_unknown):
        first, second = (restrict_criterion(criterion, goal, data, queries, codes) for codes in halves)
        for chosen_on, measured_on in ((first, second), (second, first)):
            threshold = choose_threshold(chosen_on, goal, RESAMPLES_OF_HALF, seed).final(strict).value
            yield float("nan") if np.isnan(threshold) else measured_on.rate(threshold)


def _counts(data: OpenSet, queries: OpenSetQueries, accepted: AcceptedPairs) -> dict[str, int]:
    return {
        "images": len(data.labels),
        "classes": data.classes - data.num_unknown,
        **({"unknown_images": data.num_unknown} if data.num_unknown else {}),
        "known_queries": int(queries.known.sum()),
        "unknown_queries": int((queries.nearest_other_class > -np.inf).sum()),
        "same_pairs": int(accepted.same[-1]),
        "different_pairs": int(accepted.different[-1]),
    }


def pair_histograms(accepted: AcceptedPairs) -> tuple[Integers, Integers]:
    """Return (200,) same and different pairs in bins of cosine; cosines that rounding puts beyond ±1 are clipped."""
    place = np.clip(accepted.threshold, -1, 1)
    same, different = (
        np.histogram(place, BINS, weights=np.diff(counts, prepend=0))[0].round().astype(np.int64)
        for counts in (accepted.same, accepted.different)
    )
    return same, different


def cosine_histogram(cosines: NDArray[np.float32]) -> Integers:
    """Return (200,) how many cosines are in each of `BINS`."""
    counts: Integers = np.histogram(np.clip(cosines, -1, 1), BINS)[0].astype(np.int64)
    return counts
