"""What a metric is, and how values per query become one number."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from eml.config import Choice
from eml.errors import DataError
from eml.retrieval.ranking import Ranking

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """The first neighbour of each query, as its answer. All (Q,).

    nearest: gallery index, −1 where there is none. similarity: its cosine, −inf where there is none. right: whether it
    is a positive. has_positive: whether there was one to find.
    """

    nearest: NDArray[np.int64]
    similarity: Values
    right: NDArray[np.bool_]
    has_positive: NDArray[np.bool_]

    def of(self, queries: NDArray[np.int64]) -> "Answers":
        """Those of some queries. queries: positions."""
        return Answers(self.nearest[queries], self.similarity[queries], self.right[queries], self.has_positive[queries])

    def taken_for(self, queries: NDArray[np.int64], gallery_labels: NDArray[np.int64]) -> tuple[int | None, int]:
        """The label of most of the wrong answers of some queries of one class, and of how many; the lowest of equals.

        queries: positions. gallery_labels: (N,) of whole numbers from 0. (None, 0) where none is wrong.
        """
        wrong = self.nearest[queries][~self.right[queries]]
        counts = np.bincount(gallery_labels[wrong[wrong >= 0]])
        return (int(counts.argmax()), int(counts.max())) if len(counts) else (None, 0)


class Metric(Choice):
    """One or more values per query, whose mean is the metric; or one value of all answers together.

    Queries without a positive get NaN per query and are left out of the mean.
    """

    place: ClassVar[int] = 100
    """Where the metric stands in tables, small first."""

    def per_query(self, ranking: Ranking) -> dict[str, Values]:
        """Name in metrics.json → (T,) values in [0, 1], of the ranking's queries."""
        return {}

    def together(self, answers: Answers, weights: Values) -> dict[str, float]:
        """Name in metrics.json → value in [0, 1], of all queries; weights: (Q,) how often each of them counts."""
        return {}

    def shown(self) -> dict[str, str]:
        """Name in metrics.json → name in tables."""
        raise NotImplementedError


@dataclass(frozen=True)
class Summary:
    """Metrics over the queries that have a positive, and how many there were.

    per_query: (Q,) values of every metric that is a mean, NaN for a query without a positive.
    """

    values: dict[str, float]
    shown: dict[str, str]
    queries: int
    queries_without_positive: int
    gallery: int
    per_query: dict[str, Values]
    answers: Answers


def summarise(rankings: Iterable[Ranking], metrics: Sequence[Metric] | None = None) -> Summary:
    """Every metric (by default all with their defaults) over the queries of the rankings, which are 0…Q−1 in any order.

    Raises DataError when no query has a positive.
    """
    metrics = all_metrics() if metrics is None else metrics
    kept, names, gallery = _Kept(), set[str](), 0
    for ranking in rankings:
        values = {name: each for metric in metrics for name, each in metric.per_query(ranking).items()}
        kept.add(values)
        kept.add({name: getattr(ranking, name) for name in KEPT} | {"has_positive": ranking.positives > 0})
        names, gallery = set(values), max(gallery, ranking.gallery_size)
    answers = kept.answers()
    if not answers.has_positive.any():
        raise DataError(
            f"none of {len(answers.has_positive)} queries has a positive of its class in the gallery; "
            "retrieval needs classes with at least 2 images"
        )
    per_query = {name: kept.in_order(name) for name in kept.parts if name in names}
    means = {name: float(each[answers.has_positive].mean()) for name, each in per_query.items()}
    once = np.ones(len(answers.right))
    together = {name: each for metric in metrics for name, each in metric.together(answers, once).items()}
    values_of = means | together
    shown = {name: text for metric in metrics for name, text in metric.shown().items()}
    counted = int(answers.has_positive.sum())
    return Summary(
        {name: values_of[name] for name in shown},
        shown,
        counted,
        len(answers.right) - counted,
        gallery,
        per_query,
        answers,
    )


KEPT = ("queries", "nearest", "nearest_similarity", "nearest_is_positive")


class _Kept:
    """Values of queries, (T,) at a time, each kind in one growing block of memory.

    As arrays of their own they would lie between the large ones of the rankings, whose memory the allocator then cannot
    use again: 1.2 GiB for one class of 12,000 images.
    """

    def __init__(self) -> None:
        self.parts: dict[str, bytearray] = {}
        self.kinds: dict[str, np.dtype[Any]] = {}

    def add(self, values: Mapping[str, NDArray[Any]]) -> None:
        for name, each in values.items():
            self.parts.setdefault(name, bytearray()).extend(each.tobytes())
            self.kinds[name] = each.dtype

    def in_order(self, name: str) -> NDArray[Any]:
        """(Q,) with each value at its query's place."""
        values = np.frombuffer(self.parts[name], self.kinds[name])
        ordered = np.empty_like(values)
        ordered[np.frombuffer(self.parts["queries"], self.kinds["queries"])] = values
        return ordered

    def answers(self) -> Answers:
        if not self.parts:
            nothing = np.zeros(0)
            return Answers(nothing.astype(np.int64), nothing, nothing.astype(bool), nothing.astype(bool))
        return Answers(*(self.in_order(name) for name in (*KEPT[1:], "has_positive")))


def all_metrics() -> list[Metric]:
    """Every metric with its defaults, in the order of tables."""
    return [member.model_validate({}) for member in sorted(Metric.members().values(), key=lambda member: member.place)]


def mean_per_query(ranking: Ranking, contributions: Values, divisor: Values) -> Values:
    """Sum of each positive's contribution over its query, divided; NaN for a query without a positive.

    contributions: (sum of positives,), divisor: (T,).
    """
    total = np.bincount(ranking.query_of_rank, weights=contributions, minlength=len(ranking.positives))
    return np.where(ranking.positives > 0, total / np.maximum(divisor, 1), np.nan)


def best_rank(ranking: Ranking) -> Values:
    """(T,) rank of each query's first positive, NaN for a query without one."""
    best = np.full(len(ranking.positives), np.nan)
    first = ranking.order_of_rank == 1
    best[ranking.query_of_rank[first]] = ranking.ranks[first]
    return best
