"""How similar the nearest image of a query's own class is, and the nearest of another."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eml.reports.evaluation.evaluated import Evaluated
from eml.retrieval.verification import OpenSet, find_answers

SAMPLE = 3000  # queries looked at


@dataclass(frozen=True)
class Nearest:
    """own, other: (Q,) cosine to the nearest image of the query's class, and of all others; −inf without one."""

    own: NDArray[np.float64]
    other: NDArray[np.float64]


def nearest_own_and_other(evaluation: Evaluated) -> Nearest:
    """Of at most 3,000 queries with a positive, taken at even distances in the table's order; by the protocol."""
    wanted = evaluation.wanted
    counted = wanted.queries[evaluation.summary.answers.has_positive]
    if len(counted) > SAMPLE:
        counted = counted[np.linspace(0, len(counted) - 1, SAMPLE).astype(int)]
    found = find_answers(
        OpenSet(evaluation.embeddings, wanted.labels, counted, wanted.gallery, wanted.groups, wanted.within)
    )
    return Nearest(found.nearest_positive.astype(np.float64), found.nearest_other_class.astype(np.float64))
