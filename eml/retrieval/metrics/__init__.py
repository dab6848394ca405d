"""The metric family: one file per metric, from a Ranking to one value per query."""

from importlib import import_module
from pkgutil import iter_modules

from eml.retrieval.metrics.base import (
    BY_TEXTS,
    TEXT_TO_IMAGE,
    ZERO_SHOT,
    Metric,
    QueryAnswers,
    Summary,
    all_metrics,
    best_rank,
    mean_per_query,
    metric_key,
    metrics_at,
    metrics_per_query,
    summarise,
)

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "BY_TEXTS",
    "TEXT_TO_IMAGE",
    "ZERO_SHOT",
    "Metric",
    "QueryAnswers",
    "Summary",
    "all_metrics",
    "best_rank",
    "mean_per_query",
    "metric_key",
    "metrics_at",
    "metrics_per_query",
    "summarise",
]
