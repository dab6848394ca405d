"""The metric GAP."""

from typing import ClassVar, Literal

import numpy as np

from eml.retrieval.arrays import Floats
from eml.retrieval.metrics.base import Metric, QueryAnswers


class GlobalAveragePrecision(Metric):
    """(1/M) Σ_i precision(i)·1[answer i is right], over all queries by falling similarity of their first neighbour.

    Micro-average precision of Perronnin 2009 (CVPR), as in the Google Landmarks recognition task (Weyand 2020,
    arXiv:2004.01804, section 3). A query's answer is its first neighbour; precision(i) is the share of right answers
    among the i most similar ones. M: queries with a positive. Unlike in the other metrics, queries without a positive
    count too, as wrong answers whose similarity should be low. Answers of equal similarity are one step: precision is
    computed after all of them.
    """

    type: Literal["global_average_precision"] = "global_average_precision"
    place: ClassVar[int] = 5

    def together(self, answers: QueryAnswers, weights: Floats) -> dict[str, float]:
        """Compute global_average_precision, NaN if the weights leave no query with a positive."""
        order = np.argsort(-answers.similarity, kind="stable")
        similarity, right, weight = answers.similarity[order], answers.right[order], weights[order]
        last = np.append(similarity[1:] != similarity[:-1], True)[: len(order)]  # of equal similarities
        hits, seen = np.cumsum(weight * right)[last], np.cumsum(weight)[last]
        precision = hits / np.maximum(seen, np.finfo(float).tiny)
        possible = float((weights * answers.has_positive).sum())
        gained = float((precision * np.diff(hits, prepend=0)).sum())
        return {"global_average_precision": gained / possible if possible else np.nan}

    def shown(self) -> dict[str, str]:
        """Return the metric's name in tables, GAP."""
        return {"global_average_precision": "GAP"}
