"""Classes that are taken for one another."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from eml.reports.evaluation.evaluated import Evaluated, Integers, class_names

PAIRS = 24  # shown


@dataclass(frozen=True)
class Confusion:
    """Two classes by their wrong first answers.

    labels: the one whose queries are more often answered wrongly first. taken: how many queries of each were answered
    with an image of the other. queries: how many both have. rows: the query and the answer of the highest similarity.
    """

    labels: tuple[str, str]
    taken: tuple[int, int]
    queries: int
    rows: tuple[int, int]
    similarity: float


def confusions(evaluation: Evaluated) -> tuple[list[Confusion], int]:
    """The pairs of classes of the most wrong first answers, and how many more pairs have one."""
    wanted, answers = evaluation.wanted, evaluation.summary.answers
    wrong = np.flatnonzero(answers.has_positive & ~answers.right & (answers.nearest >= 0))
    asked, answer = wanted.queries[wrong], wanted.gallery[answers.nearest[wrong]]
    table = pd.DataFrame({"asked": asked, "answer": answer, "similarity": answers.similarity[wrong]})
    of, with_ = wanted.labels[asked], wanted.labels[answer]
    table["low"], table["high"] = np.minimum(of, with_), np.maximum(of, with_)
    table["upwards"] = of < with_
    table = table.sort_values("similarity", ascending=False, kind="stable")
    pairs = table.groupby(["low", "high"], sort=False).agg(
        count=("upwards", "size"),
        upwards=("upwards", "sum"),
        asked=("asked", "first"),
        answer=("answer", "first"),
        similarity=("similarity", "first"),
    )
    pairs = pairs.sort_values(["count", "similarity"], ascending=False, kind="stable")
    names, queries = class_names(wanted), _queries_of_classes(evaluation)
    return [_confusion(row, names, queries) for row in pairs.head(PAIRS).itertuples()], max(0, len(pairs) - PAIRS)


def _confusion(row: Any, names: list[str], queries: Integers) -> Confusion:
    low, high = row.Index
    taken = (int(row.upwards), int(row.count - row.upwards))
    labels = (names[low], names[high])
    if taken[1] > taken[0]:
        taken, labels = taken[::-1], labels[::-1]
    both = int(queries[low] + queries[high])
    return Confusion(labels, taken, both, (int(row.asked), int(row.answer)), float(row.similarity))


def _queries_of_classes(evaluation: Evaluated) -> Integers:
    """(C,) queries with a positive."""
    wanted = evaluation.wanted
    counted = wanted.queries[evaluation.summary.answers.has_positive]
    return np.bincount(wanted.labels[counted], minlength=int(wanted.labels.max()) + 1)
