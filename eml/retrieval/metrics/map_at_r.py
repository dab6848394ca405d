"""The metric MAP@R."""

from typing import ClassVar, Literal

import numpy as np

from eml.retrieval.arrays import Floats
from eml.retrieval.metrics.base import Metric, mean_per_query
from eml.retrieval.ranking import Ranking


class MapAtR(Metric):
    """(1/R) Σ_{i ≤ R} precision(i)·1[i-th neighbour is a positive], R the number of positives.

    Musgrave 2020, arXiv:2003.08505, section 3.2.
    """

    type: Literal["map_at_r"] = "map_at_r"
    place: ClassVar[int] = 1

    def per_query(self, ranking: Ranking) -> dict[str, Floats]:
        """Compute map_at_r, (T,)."""
        within = ranking.ranks <= np.repeat(ranking.positives, ranking.positives)
        precision = np.where(within, ranking.order_of_rank / ranking.ranks, 0.0)
        return {"map_at_r": mean_per_query(ranking, precision, ranking.positives.astype(float))}

    def shown(self) -> dict[str, str]:
        """Return the metric's name in tables, MAP@R."""
        return {"map_at_r": "MAP@R"}
