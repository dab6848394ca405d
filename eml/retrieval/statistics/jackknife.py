"""Intervals by the jackknife over classes: how far a number moves when one of the classes is not there.

A class goes out with all its queries (Tukey 1958; Efron & Tibshirani 1993, eq. 11.5), since images of one class are
no independent draws. Resamples of the classes with replacement, the bootstrap, take longer and give intervals that are
far too wide, or do not hold the truth, where classes are few: tests/benchmarks/interval_coverage.py. For the rates of a
threshold they would also have a gallery of 63 % of the classes: tests/benchmarks/calibrated_intervals.py.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from eml.retrieval.statistics.interval import CONFIDENCE, DIFFERENCE, TINY, Difference, Interval, t_interval

Values = NDArray[np.float64]
Statistic = Callable[[Values], Mapping[str, float]]
"""weights (Q,), how often each query counts → {metric: value}."""

UNSEEN = 0.25  # of a class that is right or wrong as a whole, in the spread of means
GROUPS = 400  # of classes that a metric is computed without, one after the other


def intervals(
    per_query: Mapping[str, Values], classes: NDArray[np.int64], *, confidence: float = CONFIDENCE
) -> dict[str, Interval]:
    """Of the mean of each metric over its queries; {} without a query that counts.

    per_query: (Q,) values in [0, 1], NaN for a query that does not count; classes: (Q,) of the queries.

    `t_interval`, with (ΣN)²/ΣN² − 1 degrees of freedom for classes of N queries: as many equally large ones would say
    as much. Its variance is (C·se² + ¼·θ(1 − θ)/C)/(C + ¼): of few classes with a mean near 0 or 1 often none is among
    them that differs, and se by itself would be far too small. With classes of one
    size θ(1 − θ)/C is the largest that it can be.
    """
    return {name: _of_share(*each, confidence) for name, each in _of_classes(per_query, classes).items()}


def paired(
    before: Mapping[str, Values],
    after: Mapping[str, Values],
    classes: NDArray[np.int64],
    *,
    confidence: float = CONFIDENCE,
) -> dict[str, Difference]:
    """How much each metric's mean has changed, over the queries that count in both; metrics without any are left out.

    before, after: the same metrics with (Q,) values in [0, 1] of the same queries. As `intervals`, with se² alone.
    """
    changes = {name: after[name] - before[name] for name in before}
    found = {}
    for name, (value, without, sizes) in _of_classes(changes, classes).items():
        both = np.isfinite(changes[name])
        was, now = before[name][both], after[name][both]
        if len(was):
            interval = _of_difference(value, without, sizes, confidence)
            found[name] = Difference(float(was.mean()), float(now.mean()), interval, np.array_equal(was, now))
    return found


def intervals_of(
    statistic: Statistic, classes: NDArray[np.int64], *, confidence: float = CONFIDENCE
) -> dict[str, Interval]:
    """Of metrics in [0, 1] that are no means over queries, otherwise as `intervals`. classes: (Q,) of the queries.

    The statistic gets weights 0 and 1. More than 400 classes go out in 400 groups, drawn at random.
    """
    at_hand, without, sizes = _without_classes(statistic, classes)
    return {name: _of_share(value, without[name], sizes, confidence) for name, value in at_hand.items()}


def paired_of(
    before: Statistic, after: Statistic, classes: NDArray[np.int64], *, confidence: float = CONFIDENCE
) -> dict[str, Difference]:
    """How much metrics that are no means have changed, as `paired`; whether no query changed is not looked at."""

    def change(weights: Values) -> dict[str, float]:
        was, now = before(weights), after(weights)
        return {name: now[name] - was[name] for name in now}

    once = np.ones(len(classes))
    was, now = before(once), after(once)
    at_hand, without, sizes = _without_classes(change, classes)
    return {
        name: Difference(was[name], now[name], _of_difference(value, without[name], sizes, confidence))
        for name, value in at_hand.items()
    }


def interval_of_share(value: float, without: Values, confidence: float = CONFIDENCE) -> Interval:
    """Of a rate that may be very small, or is no sum over classes. value: in [0, 1].

    without: (C,) the share without each of the classes, NaN for one that plays no part. `t_interval` with se² and
    C − 1 degrees of freedom. NaN with fewer than two classes.
    """
    without = without[np.isfinite(without)]
    classes = len(without)
    if classes < 2:
        return Interval(np.nan, np.nan, classes)
    return t_interval(value, _variance(without), classes - 1, classes, confidence=confidence)


def without_each(some: Values, of: Values) -> Values:
    """(C,) Σ some / Σ of over all classes but one; NaN for a class with none. some, of: (C,) sums of each class."""
    left = of.sum() - of
    there = (of > 0) & (left > 0)
    found = np.full(len(of), np.nan)
    np.divide(some.sum() - some, left, out=found, where=there)
    return found


def _variance(without: NDArray[np.float64]) -> float:
    """(C − 1)/C·Σ(θ₍c₎ − θ̄)². without: (C,) θ₍c₎, the value without each class. 0 with fewer than two."""
    count = len(without)
    return (count - 1) / count * float(((without - without.mean()) ** 2).sum()) if count > 1 else 0.0


def _of_share(value: float, without: Values, sizes: Values, confidence: float) -> Interval:
    classes = len(sizes)
    variance = _variance(without)
    if variance > TINY:
        variance = (classes * variance + UNSEEN * value * (1 - value) / classes) / (classes + UNSEEN)
    return t_interval(value, variance, _degrees(sizes, without), classes, confidence=confidence)


def _of_difference(value: float, without: Values, sizes: Values, confidence: float) -> Interval:
    degrees = _degrees(sizes, without)
    return t_interval(value, _variance(without), degrees, len(sizes), confidence=confidence, bounds=DIFFERENCE)


def _degrees(sizes: Values, without: Values) -> float:
    """Of freedom: one less than equally large classes would say as much; at least one."""
    alike = sizes.sum() ** 2 / (sizes @ sizes) if len(sizes) else 0.0
    return max(1.0, float(min(alike, len(without))) - 1)


def _of_classes(per_query: Mapping[str, Values], classes: NDArray[np.int64]) -> dict[str, tuple[float, Values, Values]]:
    """{metric: its mean; that without each class that has queries; (C,) how many these have}; {} without any query."""
    of, found = np.unique(classes, return_inverse=True)[1], {}
    for name, values in per_query.items():
        which = np.isfinite(values)
        sizes: Values = np.bincount(of[which]).astype(np.float64)
        sums: Values = np.bincount(of[which], values[which]).astype(np.float64)
        there = sizes > 0
        sums, sizes = sums[there], sizes[there]
        value = float(sums.sum() / sizes.sum()) if len(sizes) else np.nan
        found[name] = value, without_each(sums, sizes), sizes
    return found if any(len(sizes) for *_, sizes in found.values()) else {}


def _without_classes(
    statistic: Statistic, classes: NDArray[np.int64]
) -> tuple[Mapping[str, float], dict[str, Values], Values]:
    """The metrics; what is left of them without each class or group, where anything is; (C,) sizes of the classes."""
    of = np.unique(classes, return_inverse=True)[1]
    sizes = np.bincount(of).astype(np.float64)
    groups = np.arange(len(sizes))
    if len(sizes) > GROUPS:
        groups = np.random.default_rng(0).permutation(len(sizes)) % GROUPS
    group = groups[of]
    at_hand = statistic(np.ones(len(of)))
    left = [statistic((group != one).astype(np.float64)) for one in np.unique(groups)] if len(sizes) > 1 else []
    without = {name: np.array([each[name] for each in left]) for name in at_hand}
    return at_hand, {name: each[np.isfinite(each)] for name, each in without.items()}, sizes
