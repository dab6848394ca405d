"""The metric Recall@K."""

from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from eml.retrieval.arrays import Floats
from eml.retrieval.metrics.base import Metric, best_rank
from eml.retrieval.ranking import Ranking


class RecallAtK(Metric):
    """1[min rank ≤ K]: whether one of the K nearest neighbours is a positive. Jégou 2011, Song 2016 (arXiv:1511.06452).

    This is recall as metric learning defines it, CMC rank-K in re-identification, not the share of positives found.
    A K larger than the gallery counts as the whole gallery.
    """

    type: Literal["recall_at_k"] = "recall_at_k"
    place: ClassVar[int] = 0
    k: tuple[int, ...] = Field((1, 5, 10), min_length=1, description="the Ks")

    def per_query(self, ranking: Ranking) -> dict[str, Floats]:
        """Compute recall_at_K, (T,) values of 0 and 1."""
        best = best_rank(ranking)
        return {f"recall_at_{k}": np.where(np.isnan(best), np.nan, best <= k) for k in self.k}

    def shown(self) -> dict[str, str]:
        """Return the metric's name in tables, R@K."""
        return {f"recall_at_{k}": f"R@{k}" for k in self.k}

    def never_below(self) -> dict[str, tuple[str, ...]]:
        """Return R@K ≥ R@J for J < K, and R@1 ≥ GAP, whose precisions of right answers are at most 1."""
        names = [f"recall_at_{k}" for k in sorted(set(self.k))]
        below = {higher: (lower,) for lower, higher in pairwise(names)}
        return {"recall_at_1": ("global_average_precision",), **below}
