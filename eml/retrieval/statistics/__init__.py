"""Confidence intervals over classes: how much a number would vary with other classes of the same kind.

`intervals` and `paired` are for means over queries, `intervals_of` and `paired_of` for other statistics,
`intervals_of_summary` for everything that an evaluation measured, `median_estimate` for a median. `nest` keeps
intervals of nested metrics in order.
`choose` picks among candidates by some classes and judges by others what it picked.
"""

from eml.retrieval.statistics.choice import ClassDivision, JudgedChoice, choose, divide_classes
from eml.retrieval.statistics.interval import CONFIDENCE, FEW_CLASSES, Difference, Estimate, Interval
from eml.retrieval.statistics.jackknife import (
    Statistic,
    interval_of_share,
    intervals,
    intervals_of,
    paired,
    paired_of,
    shares_without_each,
)
from eml.retrieval.statistics.median import median_estimate
from eml.retrieval.statistics.nested import nest
from eml.retrieval.statistics.summary_intervals import as_pair, intervals_of_summary, nest_metrics, statistic_of

__all__ = [
    "CONFIDENCE",
    "FEW_CLASSES",
    "ClassDivision",
    "Difference",
    "Estimate",
    "Interval",
    "JudgedChoice",
    "Statistic",
    "as_pair",
    "choose",
    "divide_classes",
    "interval_of_share",
    "intervals",
    "intervals_of",
    "intervals_of_summary",
    "median_estimate",
    "nest",
    "nest_metrics",
    "paired",
    "paired_of",
    "shares_without_each",
    "statistic_of",
]
