"""Intervals by the jackknife over classes: how far a number moves when one class is left out.

A class is left out with all its queries (Tukey 1958; Efron & Tibshirani 1993, eq. 11.5), since images of one class are
not independent draws. Resampling the classes with replacement, the bootstrap, takes longer. With few classes its
intervals are far too wide or do not cover the truth: tests/benchmarks/interval_coverage.py. For the rates of a
threshold its gallery would also have only 63 % of the classes: tests/benchmarks/calibrated_intervals.py.
"""

from collections.abc import Callable, Mapping

import numpy as np

from eml.retrieval.arrays import Floats, Integers
from eml.retrieval.statistics.interval import CONFIDENCE, DIFFERENCE, TINY, Difference, Interval, t_interval

Statistic = Callable[[Floats], Mapping[str, float]]
"""weights (Q,), how often each query counts → {metric: value}."""

UNSEEN = 0.25  # weight, in the spread of means, of an unseen class that is right or wrong as a whole
GROUPS = 400  # most groups of classes that are left out in turn


def intervals(
    per_query: Mapping[str, Floats], classes: Integers, *, confidence: float = CONFIDENCE
) -> dict[str, Interval]:
    """Compute the interval of the mean of each metric over its queries.

    It is `t_interval` with (ΣN)²/ΣN² − 1 degrees of freedom for classes of N queries, as many as equally large classes
    of the same information would give. Its variance is (C·se² + ¼·θ(1 − θ)/C)/(C + ¼), with the mean θ and the
    jackknife's standard error se: few classes with a mean near 0 or 1 often include none that differs, and se alone
    would be far too small. θ(1 − θ)/C is the largest possible variance of classes of one size.

    Args:
        per_query: Metric → (Q,) values in [0, 1], NaN for a query that does not count.
        classes: (Q,) integers, the classes of the queries.
        confidence: In (0, 1).

    Returns:
        Metric → interval; {} if no query counts.
    """
    return {
        name: _interval_of_share(value, without, sizes, confidence)
        for name, (value, without, sizes) in _means_without_classes(per_query, classes).items()
    }


def paired(
    before: Mapping[str, Floats],
    after: Mapping[str, Floats],
    classes: Integers,
    *,
    confidence: float = CONFIDENCE,
) -> dict[str, Difference]:
    """Compute how much the mean of each metric has changed, over the queries that count in both.

    The interval is that of `intervals` with the variance se².

    Args:
        before: Metric → (Q,) values in [0, 1], NaN for a query that does not count.
        after: The same metrics of the same queries.
        classes: (Q,) integers, the classes of the queries.
        confidence: In (0, 1).

    Returns:
        Metric → difference, without the metrics for which no query counts.
    """
    changes = {name: after[name] - before[name] for name in before}
    differences = {}
    for name, (value, without, sizes) in _means_without_classes(changes, classes).items():
        both = np.isfinite(changes[name])
        old, new = before[name][both], after[name][both]
        if len(old):
            interval = _interval_of_difference(value, without, sizes, confidence)
            differences[name] = Difference(float(old.mean()), float(new.mean()), interval, np.array_equal(old, new))
    return differences


def intervals_of(statistic: Statistic, classes: Integers, *, confidence: float = CONFIDENCE) -> dict[str, Interval]:
    """Compute the intervals of metrics that are not means over queries, otherwise like `intervals`.

    Args:
        statistic: weights (Q,) → {metric: value in [0, 1]}. It is called with weights of 0 and 1, once for each class;
            more than 400 classes are left out in 400 random groups.
        classes: (Q,) integers, the classes of the queries.
        confidence: In (0, 1).
    """
    values, without, sizes = _values_without_classes(statistic, classes)
    return {name: _interval_of_share(value, without[name], sizes, confidence) for name, value in values.items()}


def paired_of(
    before: Statistic, after: Statistic, classes: Integers, *, confidence: float = CONFIDENCE
) -> dict[str, Difference]:
    """Compute how much metrics that are not means have changed, like `paired`; `alike` is always False.

    Args:
        before: weights (Q,) → {metric: value in [0, 1]}.
        after: The same metrics of the same queries.
        classes: (Q,) integers, the classes of the queries.
        confidence: In (0, 1).
    """

    def change(weights: Floats) -> dict[str, float]:
        old, new = before(weights), after(weights)
        return {name: new[name] - old[name] for name in new}

    once = np.ones(len(classes))
    old, new = before(once), after(once)
    values, without, sizes = _values_without_classes(change, classes)
    return {
        name: Difference(old[name], new[name], _interval_of_difference(value, without[name], sizes, confidence))
        for name, value in values.items()
    }


def interval_of_share(value: float, without: Floats, confidence: float = CONFIDENCE) -> Interval:
    """Return the interval of a rate that may be very small or is not a sum over classes.

    It is `t_interval` with the jackknife's variance se² and C − 1 degrees of freedom.

    Args:
        value: The rate, in [0, 1].
        without: (C,) the rate without each class; NaN for a class that plays no part.
        confidence: In (0, 1).

    Returns:
        An interval of NaN with fewer than two classes.
    """
    without = without[np.isfinite(without)]
    classes = len(without)
    if classes < 2:
        return Interval(np.nan, np.nan, classes)
    return t_interval(value, _variance(without), classes - 1, classes, confidence=confidence)


def shares_without_each(parts: Floats, totals: Floats) -> Floats:
    """Return (C,) Σ parts / Σ totals over all classes but one, for each class; NaN for a class of total 0.

    Args:
        parts: (C,) sum of each class.
        totals: (C,) sum of each class that its part is a share of.
    """
    rest = totals.sum() - totals
    defined = (totals > 0) & (rest > 0)
    shares = np.full(len(totals), np.nan)
    np.divide(parts.sum() - parts, rest, out=shares, where=defined)
    return shares


def _variance(without: Floats) -> float:
    """Return (C − 1)/C·Σ(θ₍c₎ − θ̄)², 0 with fewer than two classes. without: (C,) θ₍c₎, the value without class c."""
    count = len(without)
    return (count - 1) / count * float(((without - without.mean()) ** 2).sum()) if count > 1 else 0.0


def _interval_of_share(value: float, without: Floats, sizes: Floats, confidence: float) -> Interval:
    classes = len(sizes)
    variance = _variance(without)
    if variance > TINY:
        variance = (classes * variance + UNSEEN * value * (1 - value) / classes) / (classes + UNSEEN)
    return t_interval(value, variance, _degrees(sizes, without), classes, confidence=confidence)


def _interval_of_difference(value: float, without: Floats, sizes: Floats, confidence: float) -> Interval:
    degrees = _degrees(sizes, without)
    return t_interval(value, _variance(without), degrees, len(sizes), confidence=confidence, bounds=DIFFERENCE)


def _degrees(sizes: Floats, without: Floats) -> float:
    """Return the degrees of freedom: the number of equally informative classes less one, at least one."""
    alike = sizes.sum() ** 2 / (sizes @ sizes) if len(sizes) else 0.0
    return max(1.0, float(min(alike, len(without))) - 1)


def _means_without_classes(
    per_query: Mapping[str, Floats], classes: Integers
) -> dict[str, tuple[float, Floats, Floats]]:
    """Return {metric: (mean, (C,) means without each class, (C,) sizes)}, of the classes with queries that count.

    Returns {} if no query counts in any metric.
    """
    codes, means = np.unique(classes, return_inverse=True)[1], {}
    for name, values in per_query.items():
        counts = np.isfinite(values)
        sizes: Floats = np.bincount(codes[counts]).astype(np.float64)
        sums: Floats = np.bincount(codes[counts], values[counts]).astype(np.float64)
        present = sizes > 0
        sums, sizes = sums[present], sizes[present]
        mean = float(sums.sum() / sizes.sum()) if len(sizes) else np.nan
        means[name] = mean, shares_without_each(sums, sizes), sizes
    return means if any(len(sizes) for *_, sizes in means.values()) else {}


def _values_without_classes(
    statistic: Statistic, classes: Integers
) -> tuple[Mapping[str, float], dict[str, Floats], Floats]:
    """Return the metrics, their finite values without each class or group of classes, and the (C,) sizes of classes."""
    codes = np.unique(classes, return_inverse=True)[1]
    sizes = np.bincount(codes).astype(np.float64)
    groups = np.arange(len(sizes))
    if len(sizes) > GROUPS:
        groups = np.random.default_rng(0).permutation(len(sizes)) % GROUPS
    group = groups[codes]
    values = statistic(np.ones(len(codes)))
    rest = [statistic((group != number).astype(np.float64)) for number in np.unique(groups)] if len(sizes) > 1 else []
    without = {name: np.array([metrics[name] for metrics in rest]) for name in values}
    return values, {name: array[np.isfinite(array)] for name, array in without.items()}, sizes
