"""Intervals of shares by the jackknife over classes: how far a share moves when one of the classes is not there.

For what is no sum over classes. Whether a picture of an unknown class is accepted depends on the classes in the gallery
as much as on its own; a class that is not there is neither asked nor answers. Resamples of the classes with replacement
would have a gallery of 63 % of them, and halves a gallery of half. How often the intervals cover the truth:
tests/benchmarks/calibrated_intervals.py.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import special

from eml.retrieval.bootstrap import CONFIDENCE, TINY, UNIT, Interval, of_alike, within_bounds

Floats = NDArray[np.float64]


def interval_of_share(value: float, without: Floats, confidence: float = CONFIDENCE) -> Interval:
    """The ends of a t interval of the share's log odds, which keep within 0 and 1. value: in [0, 1].

    without: (C,) the share without each of the classes, NaN for one that plays no part. With θ₍c₎ of them,
    se² = (C − 1)/C·Σ(θ₍c₎ − θ̄)² (Tukey 1958; Efron & Tibshirani 1993, eq. 11.5), for the log odds se/(θ(1 − θ)) by the
    delta method, and C − 1 degrees of freedom. Where no class makes a difference, as where nothing is accepted, the
    interval is that of `bootstrap.intervals` for such a case. NaN with fewer than two classes.
    """
    without = without[np.isfinite(without)]
    classes, tail = len(without), (1 - confidence) / 2
    if classes < 2 or not np.isfinite(value):
        return Interval(np.nan, np.nan, classes)
    variance = (classes - 1) / classes * float(((without - without.mean()) ** 2).sum())
    if variance <= TINY * min(1.0, value) or not 0 < value < 1:
        return of_alike(value, classes, tail, UNIT)
    reach = special.stdtrit(classes - 1, 1 - tail) * np.sqrt(variance) / (value * (1 - value))
    low, high = special.expit(special.logit(value) + np.array([-reach, reach]))
    return within_bounds(low, high, value, UNIT, classes)


def without_each(some: Floats, of: Floats) -> Floats:
    """(C,) Σ some / Σ of over all classes but one; NaN for a class with none. some, of: (C,) sums of each class."""
    left = of.sum() - of
    there = (of > 0) & (left > 0)
    found = np.full(len(of), np.nan)
    np.divide(some.sum() - some, left, out=found, where=there)
    return found
