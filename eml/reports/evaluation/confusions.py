"""Classes that are mistaken for one another."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.evaluation.evaluate import Evaluation

PAIRS = 24  # shown


@dataclass(frozen=True)
class Confusion:
    """Two classes and the wrong first answers between them.

    Attributes:
        labels: The classes; the one whose queries are more often answered with the other comes first.
        wrong: The number of queries of each class whose first answer is of the other.
        queries: The number of queries of both.
        rows: The query and the wrong answer of the highest similarity, in the set's frame.
        similarity: Their cosine.
    """

    labels: tuple[str, str]
    wrong: tuple[int, int]
    queries: int
    rows: tuple[int, int]
    similarity: float


def find_confusions(evaluation: Evaluation) -> tuple[list[Confusion], int]:
    """Return the pairs of classes with the most wrong first answers, and the number of further pairs with any."""
    retrieval, answers = evaluation.retrieval, evaluation.summary.answers
    places = np.flatnonzero(answers.has_positive & ~answers.right & (answers.nearest >= 0))
    query, answer = retrieval.queries[places], retrieval.gallery[answers.nearest[places]]
    table = pd.DataFrame({"query": query, "answer": answer, "similarity": answers.similarity[places]})
    query_label, answer_label = retrieval.labels[query], retrieval.labels[answer]
    table["low"], table["high"] = np.minimum(query_label, answer_label), np.maximum(query_label, answer_label)
    table["upwards"] = query_label < answer_label
    table = table.sort_values("similarity", ascending=False, kind="stable")
    pairs = table.groupby(["low", "high"], sort=False).agg(
        count=("upwards", "size"),
        upwards=("upwards", "sum"),
        query=("query", "first"),
        answer=("answer", "first"),
        similarity=("similarity", "first"),
    )
    pairs = pairs.sort_values(["count", "similarity"], ascending=False, kind="stable")
    names, queries = retrieval.class_names, _count_queries(evaluation)
    return [_confusion(row, names, queries) for row in pairs.head(PAIRS).itertuples()], max(0, len(pairs) - PAIRS)


def _confusion(row: Any, names: list[str], queries: NDArray[np.int64]) -> Confusion:
    low, high = row.Index
    wrong = (int(row.upwards), int(row.count - row.upwards))
    labels = (names[low], names[high])
    if wrong[1] > wrong[0]:
        wrong, labels = wrong[::-1], labels[::-1]
    both = int(queries[low] + queries[high])
    return Confusion(labels, wrong, both, (int(row.query), int(row.answer)), float(row.similarity))


def _count_queries(evaluation: Evaluation) -> NDArray[np.int64]:
    """(C,) queries of each class with a positive."""
    retrieval = evaluation.retrieval
    rows = retrieval.queries[evaluation.summary.answers.has_positive]
    return np.bincount(retrieval.labels[rows], minlength=int(retrieval.labels.max()) + 1)
