"""The similarity of a query to the nearest image of its own class, and to the nearest of another."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eml.evaluation.evaluate import Evaluation
from eml.retrieval.verification import OpenSet, find_answers

SAMPLE = 3000  # queries


@dataclass(frozen=True)
class NearestSimilarities:
    """The cosine of each query to its nearest images; −inf if there is none.

    Attributes:
        same_class: (Q,) to the nearest image of the query's class.
        other_class: (Q,) to the nearest image of another class.
    """

    same_class: NDArray[np.float64]
    other_class: NDArray[np.float64]


def nearest_similarities(evaluation: Evaluation) -> NearestSimilarities:
    """Return the similarities of at most 3,000 queries with a positive, evenly spaced in the table's order."""
    retrieval = evaluation.retrieval
    queries = retrieval.queries[evaluation.summary.answers.has_positive]
    if len(queries) > SAMPLE:
        queries = queries[np.linspace(0, len(queries) - 1, SAMPLE).astype(int)]
    images = OpenSet(
        evaluation.embeddings,
        retrieval.labels,
        queries,
        retrieval.gallery,
        retrieval.groups,
        retrieval.within,
        gallery_embeddings=None if evaluation.gallery_model is None else evaluation.gallery_embeddings,
    )
    nearest = find_answers(images)
    return NearestSimilarities(
        nearest.nearest_positive.astype(np.float64), nearest.nearest_other_class.astype(np.float64)
    )
