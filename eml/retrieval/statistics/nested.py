"""Intervals of metrics of which one is never below another, such as R@5 and R@1, that do not contradict each other."""

from collections.abc import Mapping, Sequence

import numpy as np

from eml.retrieval.statistics.interval import Interval

NeverBelow = Mapping[str, Sequence[str]]
"""Metric → the metrics that it is never below, whatever the queries."""


def nest(intervals: Mapping[str, Interval], never_below: NeverBelow) -> dict[str, Interval]:
    """Return the intervals with the ends that follow from one another.

    If a ≤ b for any images, b is not below a's lower end either, and a not above b's upper end. b's lower end becomes
    the higher of the two, a's upper end the lower of the two. An interval only becomes narrower, still contains its
    value, and neither lower ends nor upper ends contradict the order of the metrics.

    Args:
        intervals: Metric → interval; NaN ends stay as they are.
        never_below: For metrics that are not in `intervals` it says nothing.
    """
    nested = dict(intervals)
    pairs = [
        (lower, higher) for higher, below in never_below.items() for lower in below if {lower, higher} <= set(nested)
    ]
    for _ in nested:  # as often as the longest chain of pairs can be
        for lower, higher in pairs:
            a, b = nested[lower], nested[higher]
            if np.isnan([a.low, a.high, b.low, b.high]).any():
                continue
            nested[lower] = Interval(a.low, min(a.high, b.high), a.classes)
            nested[higher] = Interval(max(a.low, b.low), b.high, b.classes)
    return nested
