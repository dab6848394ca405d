"""The median of a value over queries, with an interval over classes."""

import numpy as np

from eml.retrieval.arrays import Floats, Integers
from eml.retrieval.statistics.interval import CONFIDENCE, Estimate, Interval
from eml.retrieval.statistics.jackknife import intervals


def median_estimate(values: Floats, classes: Integers, *, confidence: float = CONFIDENCE) -> Estimate:
    """Return the median over queries, the least value that half of them do not exceed, with its interval.

    The interval of a median is that of the share of values up to it, carried over by the distribution of the values
    (Woodruff 1952, "Confidence intervals for medians and other position measures"). The share is a mean over queries,
    so `intervals` has its interval over classes; to leave out a class hardly moves a median itself.

    Args:
        values: (Q,) NaN for a query that does not count.
        classes: (Q,) integers, the classes of the queries.
        confidence: In (0, 1).

    Returns:
        An estimate of NaN if no query counts; an interval of NaN with fewer than two classes.
    """
    counted = np.isfinite(values)
    ordered = np.sort(values[counted])
    if not len(ordered):
        return Estimate(float("nan"), Interval(float("nan"), float("nan"), 0))
    median = _quantile(ordered, 0.5)
    within = np.where(counted, values <= median, np.nan)
    share = intervals({"share": within}, classes, confidence=confidence)["share"]
    if not np.isfinite([share.low, share.high]).all():
        return Estimate(median, Interval(float("nan"), float("nan"), share.classes))
    middle = float(np.nanmean(within))
    ends = [_quantile(ordered, 0.5 + end - middle) for end in (share.low, share.high)]
    return Estimate(median, Interval(min(ends[0], median), max(ends[1], median), share.classes))


def _quantile(ordered: Floats, share: float) -> float:
    """Return the least of the ascending values that so large a share of them does not exceed."""
    place = int(np.ceil(np.clip(share, 0.0, 1.0) * len(ordered) - 1e-9)) - 1
    return float(ordered[max(0, place)])
