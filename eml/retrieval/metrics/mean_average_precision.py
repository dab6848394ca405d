"""The metric mAP."""

from typing import ClassVar, Literal

from eml.retrieval.arrays import Floats
from eml.retrieval.metrics.base import Metric, mean_per_query
from eml.retrieval.ranking import Ranking


class MeanAveragePrecision(Metric):
    """(1/R) Σ over all positives of i/rank_i, the i-th positive standing at rank_i: non-interpolated average precision.

    Manning 2008, Introduction to Information Retrieval, section 8.4. Over the whole gallery, unlike MAP@R.
    """

    type: Literal["mean_average_precision"] = "mean_average_precision"
    place: ClassVar[int] = 3

    def per_query(self, ranking: Ranking) -> dict[str, Floats]:
        """Compute mean_average_precision, (T,) average precisions."""
        precision = ranking.order_of_rank / ranking.ranks
        return {"mean_average_precision": mean_per_query(ranking, precision, ranking.positives.astype(float))}

    def shown(self) -> dict[str, str]:
        """Return the metric's name in tables, mAP."""
        return {"mean_average_precision": "mAP"}

    def never_below(self) -> dict[str, tuple[str, ...]]:
        """Return mAP ≥ MAP@R, which has the first R terms of the same sum."""
        return {"mean_average_precision": ("map_at_r",)}
