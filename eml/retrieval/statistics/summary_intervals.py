"""Intervals of everything that an evaluation measured."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eml.retrieval.metrics import Answers, Metric, Summary, all_metrics
from eml.retrieval.statistics.interval import Interval
from eml.retrieval.statistics.jackknife import Statistic, Values, intervals, intervals_of


def intervals_of_summary(
    summary: Summary, classes: NDArray[np.int64], metrics: Sequence[Metric] | None = None
) -> dict[str, Interval]:
    """{metric: its 95 % interval over classes}, of means and of metrics of all answers together.

    classes: (Q,) of the summary's queries. metrics: that the summary was made of, by default all with their defaults.
    """
    found = intervals(summary.per_query, classes)
    found |= intervals_of(statistic_of(summary.answers, metrics), classes)
    return {name: found[name] for name in summary.values if name in found}


def statistic_of(answers: Answers, metrics: Sequence[Metric] | None = None) -> Statistic:
    """The metrics of all answers together, for weights (Q,) in the order of the queries."""
    metrics = all_metrics() if metrics is None else metrics
    order = np.argsort(-answers.similarity, kind="stable")  # so that what sorts once for each class finds it sorted
    ordered = answers.of(order)

    def statistic(weights: Values) -> dict[str, float]:
        weights = weights[order]
        return {name: value for metric in metrics for name, value in metric.together(ordered, weights).items()}

    return statistic


def as_pair(interval: Interval) -> list[float | None]:
    """[low, high] for JSON; null where there is none."""
    return [float(end) if np.isfinite(end) else None for end in (interval.low, interval.high)]
