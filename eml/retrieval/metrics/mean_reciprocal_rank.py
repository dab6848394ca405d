"""The metric MRR."""

from typing import ClassVar, Literal

from eml.retrieval.arrays import Floats
from eml.retrieval.metrics.base import Metric, best_rank
from eml.retrieval.ranking import Ranking


class MeanReciprocalRank(Metric):
    """1/(rank of the first positive), over the whole gallery. Voorhees 1999, TREC-8 question answering, section 3."""

    type: Literal["mean_reciprocal_rank"] = "mean_reciprocal_rank"
    place: ClassVar[int] = 4

    def per_query(self, ranking: Ranking) -> dict[str, Floats]:
        """Compute mean_reciprocal_rank, (T,)."""
        return {"mean_reciprocal_rank": 1 / best_rank(ranking)}

    def shown(self) -> dict[str, str]:
        """Return the metric's name in tables, MRR."""
        return {"mean_reciprocal_rank": "MRR"}

    def never_below(self) -> dict[str, tuple[str, ...]]:
        """Return MRR ≥ R@1: it is 1 where the first is a positive."""
        return {"mean_reciprocal_rank": ("recall_at_1",)}
