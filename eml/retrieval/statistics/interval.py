"""Values with confidence intervals over classes."""

from dataclasses import dataclass

import numpy as np
from scipy import special  # scikit-learn needs it already

from eml.retrieval.confidence import CONFIDENCE as CONFIDENCE

FEW_CLASSES = 20
"""With fewer classes an interval is rough."""
UNIT, DIFFERENCE = (0.0, 1.0), (-1.0, 1.0)
TINY = 1e-20  # a variance below it is rounding, of squares in float64


@dataclass(frozen=True)
class Interval:
    """A confidence interval, low ≤ high; both ends are NaN if there is none.

    Attributes:
        low: The lower end.
        high: The upper end.
        classes: Number of classes that it rests on.
    """

    low: float
    high: float
    classes: int

    @property
    def few(self) -> bool:
        """Whether it rests on fewer than `FEW_CLASSES` classes, so that it is only a hint."""
        return self.classes < FEW_CLASSES


@dataclass(frozen=True)
class Estimate:
    """A value with its interval."""

    value: float
    interval: Interval


@dataclass(frozen=True)
class Difference:
    """The change of a value over the same queries.

    Attributes:
        before: The value before.
        after: The value after.
        interval: Of after − before.
        alike: Whether no query changed.
    """

    before: float
    after: float
    interval: Interval
    alike: bool = False

    @property
    def value(self) -> float:
        """The difference after − before."""
        return self.after - self.before

    @property
    def reversed(self) -> "Difference":
        """The difference before − after."""
        interval = Interval(-self.interval.high, -self.interval.low, self.interval.classes)
        return Difference(self.after, self.before, interval, self.alike)


def t_interval(
    value: float,
    variance: float,
    degrees: float,
    classes: int,
    *,
    confidence: float = CONFIDENCE,
    bounds: tuple[float, float] = UNIT,
) -> Interval:
    """Return a t interval of the log odds of a value, whose ends stay within the bounds.

    The standard error se of a share p becomes se/(p(1 − p)) for its log odds (delta method). A difference d in [−1, 1]
    is treated as the share (1 + d)/2.

    Args:
        value: Within the bounds; NaN gives an interval of NaN.
        variance: Of the value. At 0, where all classes have the same mean, and for a value at a bound the interval is
            `interval_of_alike_classes`.
        degrees: Degrees of freedom.
        classes: Number of classes that the value rests on.
        confidence: In (0, 1).
        bounds: Of the value: (0, 1) for a share, (−1, 1) for a difference.
    """
    tail = (1 - confidence) / 2
    if not np.isfinite(value):
        return Interval(np.nan, np.nan, classes)
    low, high = bounds
    if variance <= TINY or not low < value < high:
        return interval_of_alike_classes(value, classes, tail, bounds)
    share = (value - low) / (high - low)
    reach = special.stdtrit(degrees, 1 - tail) * np.sqrt(variance) / (high - low) / (share * (1 - share))
    least, most = low + (high - low) * special.expit(special.logit(share) + np.array([-reach, reach]))
    return bounded_interval(least, most, value, bounds, classes)


def interval_of_alike_classes(value: float, classes: int, tail: float, bounds: tuple[float, float] = UNIT) -> Interval:
    """Return the interval of a value that is the same in all classes, so that their spread says nothing.

    At an end, all of so many classes would still be alike with probability `tail`: one draw in 40 at a confidence of
    .95 (tail .025). Clopper & Pearson 1934 at 0 errors of C.
    """
    if not classes:
        return Interval(np.nan, np.nan, 0)
    share = tail ** (1 / classes)
    low, high = bounds
    return bounded_interval(low + (value - low) * share, high - (high - value) * share, value, bounds, classes)


def bounded_interval(low: float, high: float, value: float, bounds: tuple[float, float], classes: int) -> Interval:
    """Return the interval widened to contain the value and cut to the bounds."""
    low, high = min(float(low), float(value)), max(float(high), float(value))
    return Interval(max(low, bounds[0]), min(high, bounds[1]), classes)
