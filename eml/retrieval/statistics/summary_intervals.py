"""Intervals of everything that an evaluation measured."""

from collections.abc import Mapping, Sequence

import numpy as np

from eml.retrieval.arrays import Floats, Integers
from eml.retrieval.metrics import Metric, QueryAnswers, Summary, all_metrics
from eml.retrieval.statistics.interval import Interval
from eml.retrieval.statistics.jackknife import Statistic, intervals, intervals_of
from eml.retrieval.statistics.nested import nest


def intervals_of_summary(
    summary: Summary, classes: Integers, metrics: Sequence[Metric] | None = None
) -> dict[str, Interval]:
    """Compute the 95 % interval over classes of every metric of a summary.

    Args:
        summary: Of Q queries.
        classes: (Q,) integers, the classes of the queries.
        metrics: The metrics that the summary was made of, by default those that it names.
    """
    metrics = (summary.metrics or None) if metrics is None else metrics
    computed = intervals(summary.per_query, classes)
    computed |= intervals_of(statistic_of(summary.answers, metrics), classes)
    return nest_metrics({name: computed[name] for name in summary.values if name in computed}, metrics)


def nest_metrics(intervals: Mapping[str, Interval], metrics: Sequence[Metric] | None = None) -> dict[str, Interval]:
    """Return the intervals of metrics with the ends that follow from one another, see `nest`.

    Args:
        intervals: Metric → interval.
        metrics: The metrics, by default all with their defaults.
    """
    metrics = all_metrics() if metrics is None else metrics
    return nest(intervals, {name: below for metric in metrics for name, below in metric.never_below().items()})


def statistic_of(answers: QueryAnswers, metrics: Sequence[Metric] | None = None) -> Statistic:
    """Return the function weights (Q,) → {metric: value} of the metrics of all answers together.

    Args:
        answers: Of Q queries.
        metrics: By default all, with their defaults.
    """
    metrics = all_metrics() if metrics is None else metrics
    order = np.argsort(-answers.similarity, kind="stable")  # sorted once, so that the sort for each class is quick
    ordered = answers.of(order)

    def statistic(weights: Floats) -> dict[str, float]:
        weights = weights[order]
        return {name: value for metric in metrics for name, value in metric.together(ordered, weights).items()}

    return statistic


def as_pair(interval: Interval) -> list[float | None]:
    """Return [low, high] for JSON, with null for NaN."""
    return [float(end) if np.isfinite(end) else None for end in (interval.low, interval.high)]
