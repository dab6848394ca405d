"""Values with intervals: what a number might have been with other classes of the same kind."""

from dataclasses import dataclass

import numpy as np
from scipy import special  # of what scikit-learn needs

CONFIDENCE = 0.95
FEW = 20  # classes, below which an interval is a rough one
UNIT, DIFFERENCE = (0.0, 1.0), (-1.0, 1.0)
TINY = 1e-20  # a variance below it is rounding, of squares in float64


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
    """Values before and after, of the same queries, and the interval of after − before. alike: no query changed."""

    before: float
    after: float
    interval: Interval
    alike: bool = False

    @property
    def value(self) -> float:
        """after − before."""
        return self.after - self.before


def t_interval(
    value: float,
    variance: float,
    degrees: float,
    classes: int,
    *,
    confidence: float = CONFIDENCE,
    bounds: tuple[float, float] = UNIT,
) -> Interval:
    """The ends of a t interval of the log odds, which keep within the bounds; of a difference d those of (1 + d)/2.

    variance: of the value; its standard error is brought to the log odds p by the delta method, se/(p(1 − p)).
    degrees: of freedom. `of_alike` without a variance, as where all classes have the same mean, and at a bound.
    """
    tail = (1 - confidence) / 2
    if not np.isfinite(value):
        return Interval(np.nan, np.nan, classes)
    low, high = bounds
    if variance <= TINY or not low < value < high:
        return of_alike(value, classes, tail, bounds)
    share = (value - low) / (high - low)
    reach = special.stdtrit(degrees, 1 - tail) * np.sqrt(variance) / (high - low) / (share * (1 - share))
    least, most = low + (high - low) * special.expit(special.logit(share) + np.array([-reach, reach]))
    return within_bounds(least, most, value, bounds, classes)


def of_alike(value: float, classes: int, tail: float, bounds: tuple[float, float] = UNIT) -> Interval:
    """Where all classes have the same mean, so that their spread tells nothing.

    An end is as far as all of so many classes would still be alike in one of 40 draws, for a confidence of .95
    (tail .025): Clopper & Pearson 1934 at 0 errors of C.
    """
    if not classes:
        return Interval(np.nan, np.nan, 0)
    share = tail ** (1 / classes)
    low, high = bounds
    return within_bounds(low + (value - low) * share, high - (high - value) * share, value, bounds, classes)


def within_bounds(low: float, high: float, value: float, bounds: tuple[float, float], classes: int) -> Interval:
    """The interval has the value in it and lies within the bounds."""
    low, high = min(float(low), float(value)), max(float(high), float(value))
    return Interval(max(low, bounds[0]), min(high, bounds[1]), classes)
