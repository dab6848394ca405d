"""What a metric is, and how values per query become one number."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from eml.config import Choice
from eml.errors import DataError
from eml.retrieval.ranking import Ranking

Values = NDArray[np.float64]


class Metric(Choice):
    """One or more values per query; queries without a partner get NaN and are left out of the mean."""

    place: ClassVar[int] = 100
    """Where the metric stands in tables, small first."""

    def per_query(self, ranking: Ranking) -> dict[str, Values]:
        """Name in metrics.json → (Q,) values in [0, 1]."""
        raise NotImplementedError

    def shown(self) -> dict[str, str]:
        """Name in metrics.json → name in tables."""
        raise NotImplementedError


@dataclass(frozen=True)
class Summary:
    """Means over the queries that have a partner, and how many there were.

    per_query: (Q,) values of every metric, NaN for a query without a partner.
    """

    values: dict[str, float]
    shown: dict[str, str]
    queries: int
    queries_without_partner: int
    gallery: int
    per_query: dict[str, Values]


def summarise(ranking: Ranking, metrics: Sequence[Metric] | None = None) -> Summary:
    """Every metric (by default all with their defaults) as a mean over queries.

    Raises DataError when no query has a partner.
    """
    has_partner = ranking.partners > 0
    if not has_partner.any():
        raise DataError(
            f"none of {len(has_partner)} queries has a partner of its class in the gallery; "
            "retrieval needs classes with at least 2 pictures"
        )
    per_query: dict[str, Values] = {}
    shown: dict[str, str] = {}
    for metric in metrics if metrics is not None else all_metrics():
        shown |= metric.shown()
        per_query |= metric.per_query(ranking)
    values = {name: float(each[has_partner].mean()) for name, each in per_query.items()}
    counted = int(has_partner.sum())
    return Summary(values, shown, counted, len(has_partner) - counted, ranking.gallery_size, per_query)


def all_metrics() -> list[Metric]:
    """Every metric with its defaults, in the order of tables."""
    return [member.model_validate({}) for member in sorted(Metric.members().values(), key=lambda member: member.place)]


def mean_per_query(ranking: Ranking, contributions: Values, divisor: Values) -> Values:
    """Sum of each partner's contribution over its query, divided; NaN for a query without a partner.

    contributions: (sum of partners,), divisor: (Q,).
    """
    total = np.bincount(ranking.query_of_rank, weights=contributions, minlength=len(ranking.partners))
    return np.where(ranking.partners > 0, total / np.maximum(divisor, 1), np.nan)
