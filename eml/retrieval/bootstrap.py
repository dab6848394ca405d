"""Intervals by the bootstrap over classes: what the metrics might have been with other classes of the same kind.

Classes are drawn with replacement, all queries of a drawn class go in (Efron 1979, Ann. Statist. 7, 1; for clusters
Davison & Hinkley 1997, section 3.8), since pictures of one class are no independent draws. Which interval is made of
the resamples was chosen by how often it covers the truth: tests/benchmarks/interval_coverage.py.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special  # of what scikit-learn needs

Values = NDArray[np.float64]
Statistic = Callable[[Values], Mapping[str, float]]
"""weights (Q,), how often each query counts → {metric: value}."""

CONFIDENCE = 0.95
RESAMPLES = 2000
LEAST = 200  # resamples, whatever the number of classes
DRAWS = 50_000_000  # random numbers at the most: fewer resamples where there are more classes than usual
PIECE = 1 << 22  # weights held at once, 32 MiB
FEW = 20  # classes, below which an interval is a rough one
SMOOTHING = 0.5  # of an average class's spread, added to each resample's
UNIT, DIFFERENCE = (0.0, 1.0), (-1.0, 1.0)


@dataclass(frozen=True)
class Interval:
    """low ≤ high. classes: how many it rests on."""

    low: float
    high: float
    classes: int

    @property
    def few(self) -> bool:
        """Whether the classes are too few to trust it: take it as a hint."""
        return self.classes < FEW


@dataclass(frozen=True)
class Estimate:
    """A value with its interval."""

    value: float
    interval: Interval


@dataclass(frozen=True)
class Difference:
    """Means over the queries that count in both, and the interval of after − before. alike: no query changed."""

    before: float
    after: float
    interval: Interval
    alike: bool = False

    @property
    def value(self) -> float:
        """after − before."""
        return self.after - self.before


def intervals(
    per_query: Mapping[str, Values],
    classes: NDArray[np.int64],
    *,
    confidence: float = CONFIDENCE,
    resamples: int | None = None,
    seed: int = 0,
    bounds: tuple[float, float] = UNIT,
) -> dict[str, Interval]:
    """Of the mean of each metric over its queries, from the same resamples; {} without a query that counts.

    per_query: (Q,) values within `bounds`, NaN for a query that does not count; classes: (Q,) of the queries.
    resamples: by default 2,000, fewer of very many classes.

    Studentised (Efron 1982, section 10.10): θ − se·t*, with quantiles of t* = (θ* − θ)/se* over the resamples; θ is a
    ratio of sums ΣS/ΣN over classes, and se² = C/(C−1)·Σ(S − θN)²/(ΣN)². From 20 classes on, half the spread of an
    average class is added to se*: else a resample that has none moves an end to the bound. Where all classes have the
    same mean, their spread tells nothing: an end is then as far as all C classes would still be alike in one of 40
    draws, for a confidence of .95 (Clopper & Pearson 1934 at 0 errors of C).
    """
    counted = {name: np.isfinite(values) for name, values in per_query.items()}
    used = np.any(list(counted.values()), axis=0) if counted else np.zeros(len(classes), bool)
    if not used.any():
        return {}
    of = np.full(len(classes), -1)
    of[used] = np.unique(classes[used], return_inverse=True)[1]
    sums = [_ClassSums.of(per_query[name][which], of[which], of.max() + 1) for name, which in counted.items()]
    columns = np.concatenate([each.columns() for each in sums], axis=1)
    resampled = _resampled(columns, resamples or _resamples(len(columns)), seed)
    parts = np.split(resampled, len(sums), axis=1)
    return {
        name: each.interval(part, confidence, bounds) for name, each, part in zip(counted, sums, parts, strict=True)
    }


def paired(
    before: Mapping[str, Values],
    after: Mapping[str, Values],
    classes: NDArray[np.int64],
    *,
    confidence: float = CONFIDENCE,
    resamples: int | None = None,
    seed: int = 0,
) -> dict[str, Difference]:
    """How much each metric's mean has changed, over the queries that count in both; otherwise as `intervals`.

    before, after: the same metrics with (Q,) values in [0, 1] of the same queries.
    """
    changes = {name: after[name] - before[name] for name in before}
    found = intervals(changes, classes, confidence=confidence, resamples=resamples, seed=seed, bounds=DIFFERENCE)
    both = {name: np.isfinite(values) for name, values in changes.items()}
    differences = {}
    for name, interval in found.items():
        was, now = before[name][both[name]], after[name][both[name]]
        if len(was):
            differences[name] = Difference(float(was.mean()), float(now.mean()), interval, np.array_equal(was, now))
    return differences


def intervals_of(
    statistic: Statistic,
    classes: NDArray[np.int64],
    *,
    confidence: float = CONFIDENCE,
    resamples: int = 1000,
    seed: int = 0,
    bounds: tuple[float, float] = UNIT,
) -> dict[str, Interval]:
    """Of metrics that are no means over queries. classes: (Q,) of the queries; weights are whole numbers ≥ 0.

    Percentiles of the resamples, moved out as the ends of a t interval are (Hesterberg 2015, arXiv:1411.5279, section
    4.1), for as many classes as equally large ones would be. Resamples in which the metric is NaN do not count.
    """
    names, of = np.unique(classes, return_inverse=True)
    count = len(names)
    at_hand = statistic(np.ones(len(of)))
    again = {name: np.empty(resamples) for name in at_hand}
    done = 0
    for weights in _drawn(count, resamples, seed):
        for row in weights:
            for name, value in statistic(row[of]).items():
                again[name][done] = value
            done += 1
    sizes = np.bincount(of).astype(np.float64)
    alike = float(sizes.sum() ** 2 / (sizes @ sizes))  # classes of one size that would say as much
    tail = (1 - confidence) / 2
    ends = [_wider_tail(tail, count, alike), 1 - _wider_tail(tail, count, alike)]
    return {name: _of_percentiles(value, again[name], ends, tail, count, bounds) for name, value in at_hand.items()}


@dataclass(frozen=True)
class _ClassSums:
    """(C,) sum of the values and number of the queries of each class."""

    values: Values
    queries: Values

    @classmethod
    def of(cls, values: Values, of: NDArray[np.int64], classes: int) -> "_ClassSums":
        counts: Values = np.bincount(of, minlength=classes).astype(np.float64)
        return cls(np.bincount(of, values, classes).astype(np.float64), counts)

    def columns(self) -> Values:
        """(C, 5) what a resample's mean and spread are made of."""
        s, n = self.values, self.queries
        return np.stack([s, n, s * s, s * n, n * n], axis=1)

    def interval(self, resampled: Values, confidence: float, bounds: tuple[float, float]) -> Interval:
        """resampled: (resamples, 5) sums of the columns."""
        classes, tail = int((self.queries > 0).sum()), (1 - confidence) / 2
        if not classes:
            return Interval(np.nan, np.nan, 0)
        mean, variance = (each[0] for each in _means(self.columns().sum(0, keepdims=True), classes))
        if variance <= TINY:
            return of_alike(mean, classes, tail, bounds)
        means, variances = _means(resampled[resampled[:, 1] > 0], classes)
        if classes >= FEW:
            variances = (classes * variances + SMOOTHING * variance) / (classes + SMOOTHING)
        t = (means - mean) / np.sqrt(np.maximum(variances, TINY))
        low, high = mean - np.sqrt(variance) * np.quantile(t, [1 - tail, tail])
        return within_bounds(low, high, mean, bounds, classes)


TINY = 1e-14  # a variance below it is rounding, of sums of squares in float64


def _means(sums: Values, classes: int) -> tuple[Values, Values]:
    """(R,) mean and its variance. sums: (R, 5) of Σs, Σn, Σs², Σsn, Σn² over classes."""
    s, n, ss, sn, nn = sums.T
    mean = s / n
    spread = np.maximum(ss - 2 * mean * sn + mean**2 * nn, 0)  # Σ(s − mean·n)²
    return mean, spread * classes / max(classes - 1, 1) / n**2


def of_alike(mean: float, classes: int, tail: float, bounds: tuple[float, float]) -> Interval:
    """Where all classes have the same mean: `classes` draws without another one are still as likely as `tail`."""
    share = tail ** (1 / classes)
    low, high = bounds
    return within_bounds(low + (mean - low) * share, high - (high - mean) * share, mean, bounds, classes)


def within_bounds(low: float, high: float, value: float, bounds: tuple[float, float], classes: int) -> Interval:
    """The interval has the value in it and lies within the bounds."""
    low, high = min(float(low), float(value)), max(float(high), float(value))
    return Interval(max(low, bounds[0]), min(high, bounds[1]), classes)


def _resamples(classes: int) -> int:
    return max(LEAST, min(RESAMPLES, DRAWS // classes))


def _drawn(classes: int, resamples: int, seed: int) -> Iterator[Values]:
    """(r, C) how often each class was drawn, some resamples at a time."""
    random = np.random.default_rng(seed)
    rows = max(1, PIECE // classes)
    for first in range(0, resamples, rows):
        some = min(rows, resamples - first)
        drawn = random.integers(classes, size=(some, classes))
        drawn += np.arange(some)[:, None] * classes
        yield np.bincount(drawn.ravel(), minlength=some * classes).reshape(some, classes).astype(np.float64)


def _resampled(columns: Values, resamples: int, seed: int) -> Values:
    """(resamples, F) sums of the columns (C, F) over the classes drawn."""
    return np.concatenate([weights @ columns for weights in _drawn(len(columns), resamples, seed)])


def _wider_tail(tail: float, classes: int, alike: float) -> float:
    """What takes the place of the tail, so that percentiles lie as far apart as the ends of a t interval."""
    if classes < 2:
        return tail
    quantile = special.stdtrit(max(alike - 1, 1), tail)
    return float(special.ndtr(np.sqrt(classes / (classes - 1)) * quantile))


def _of_percentiles(
    value: float,
    resampled: Values,
    ends: Sequence[float],
    tail: float,
    classes: int,
    bounds: tuple[float, float],
) -> Interval:
    resampled = resampled[np.isfinite(resampled)]
    if not len(resampled) or not np.isfinite(value):
        return Interval(np.nan, np.nan, classes)
    if np.ptp(resampled) == 0:
        return of_alike(value, classes, tail, bounds)
    low, high = np.quantile(resampled, ends)
    return within_bounds(low, high, value, bounds, classes)
