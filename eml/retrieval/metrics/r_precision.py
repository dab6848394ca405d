"""The metric R-Precision."""

from typing import ClassVar, Literal

import numpy as np

from eml.retrieval.arrays import Floats
from eml.retrieval.metrics.base import Metric, mean_per_query
from eml.retrieval.ranking import Ranking


class RPrecision(Metric):
    """Share of positives among the R nearest neighbours, R the number of positives. Musgrave 2020, arXiv:2003.08505."""

    type: Literal["r_precision"] = "r_precision"
    place: ClassVar[int] = 2

    def per_query(self, ranking: Ranking) -> dict[str, Floats]:
        """Compute r_precision, (T,)."""
        within = ranking.ranks <= np.repeat(ranking.positives, ranking.positives)
        return {"r_precision": mean_per_query(ranking, within.astype(float), ranking.positives.astype(float))}

    def shown(self) -> dict[str, str]:
        """Return the metric's name in tables, R-Precision."""
        return {"r_precision": "R-Precision"}

    def never_below(self) -> dict[str, tuple[str, ...]]:
        """Return R-Precision ≥ MAP@R, which counts each positive among the first R by a precision of at most 1."""
        return {"r_precision": ("map_at_r",)}
