"""The base class of metrics, and the way from values per query to one number."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from eml.config import Choice
from eml.errors import DataError
from eml.retrieval.arrays import Booleans, Floats, Integers
from eml.retrieval.ranking import Ranking


@dataclass(frozen=True)
class QueryAnswers:
    """The nearest gallery image of each of Q queries, as its answer.

    Attributes:
        nearest: (Q,) gallery index, −1 without any image.
        similarity: (Q,) cosine of the nearest image, −inf without any.
        right: (Q,) whether the nearest image is a positive.
        has_positive: (Q,) whether the query has a positive at all.
    """

    nearest: Integers
    similarity: Floats
    right: Booleans
    has_positive: Booleans

    def of(self, queries: Integers) -> "QueryAnswers":
        """Return the answers of some queries, by position."""
        right, has_positive = self.right[queries], self.has_positive[queries]
        return QueryAnswers(self.nearest[queries], self.similarity[queries], right, has_positive)

    def most_frequent_error(self, queries: Integers, gallery_labels: Integers) -> tuple[int | None, int]:
        """Return the label of most wrong answers of some queries, and how many have it; the lowest of equal ones.

        Args:
            queries: Positions of queries, as a rule all of one class.
            gallery_labels: (N,) integers from 0.

        Returns:
            (None, 0) if no answer is wrong.
        """
        wrong = self.nearest[queries][~self.right[queries]]
        counts = np.bincount(gallery_labels[wrong[wrong >= 0]])
        return (int(counts.argmax()), int(counts.max())) if len(counts) else (None, 0)


class Metric(Choice):
    """A retrieval metric: the mean of one or more values per query, or one value of all answers together.

    A member overrides `per_query` or `together`, `shown`, and `never_below` where it is bounded by another metric.
    """

    place: ClassVar[int] = 100
    """The position of the metric in tables; small ones come first."""

    def per_query(self, ranking: Ranking) -> dict[str, Floats]:
        """Compute the values of the ranking's queries.

        Returns:
            Name in metrics.json → (T,) values in [0, 1]; NaN for a query without a positive, which the mean leaves out.
        """
        return {}

    def together(self, answers: QueryAnswers, weights: Floats) -> dict[str, float]:
        """Compute values of all answers together.

        Args:
            answers: The answers of all Q queries.
            weights: (Q,) how often each query counts.

        Returns:
            Name in metrics.json → value in [0, 1].
        """
        return {}

    def shown(self) -> dict[str, str]:
        """Return name in metrics.json → name in tables."""
        raise NotImplementedError

    def never_below(self) -> dict[str, tuple[str, ...]]:
        """Return name → the names of metrics that it is at least as high as, for any queries and rankings."""
        return {}


@dataclass(frozen=True)
class Summary:
    """Metrics over the queries that have a positive.

    Attributes:
        values: Name in metrics.json → value in [0, 1].
        shown: Name in metrics.json → name in tables.
        queries: Number of queries that have a positive.
        queries_without_positive: Number of queries that have none.
        gallery: Most images that a query was compared with.
        per_query: Name → (Q,) values of each metric that is a mean; NaN for a query without a positive.
        answers: The nearest image of each query.
        metrics: The metrics that the summary was made of.
    """

    values: dict[str, float]
    shown: dict[str, str]
    queries: int
    queries_without_positive: int
    gallery: int
    per_query: dict[str, Floats]
    answers: QueryAnswers
    metrics: tuple[Metric, ...] = ()


def summarise(rankings: Iterable[Ranking], metrics: Sequence[Metric] | None = None) -> Summary:
    """Compute metrics over all queries of the rankings.

    Args:
        rankings: Rankings that together hold the queries 0…Q−1 once each, in any order.
        metrics: By default all, with their defaults.

    Raises:
        DataError: No query has a positive.
    """
    metrics = all_metrics() if metrics is None else metrics
    store, names, gallery = _QueryValues(), set[str](), 0
    for ranking in rankings:
        values = {name: array for metric in metrics for name, array in metric.per_query(ranking).items()}
        store.add(values)
        store.add({name: getattr(ranking, name) for name in STORED} | {"has_positive": ranking.positives > 0})
        names, gallery = set(values), max(gallery, ranking.gallery_size)
    answers = store.answers()
    if not answers.has_positive.any():
        raise DataError(
            f"none of {len(answers.has_positive)} queries has a positive, another image of its class in the gallery",
            code="no-positives",
        )
    per_query = {name: store.in_order(name) for name in store.parts if name in names}
    once = np.ones(len(answers.right))
    values_of = {name: float(array[answers.has_positive].mean()) for name, array in per_query.items()}
    values_of |= {name: value for metric in metrics for name, value in metric.together(answers, once).items()}
    shown = {name: text for metric in metrics for name, text in metric.shown().items()}
    counted = int(answers.has_positive.sum())
    return Summary(
        values={name: values_of[name] for name in shown},
        shown=shown,
        queries=counted,
        queries_without_positive=len(answers.right) - counted,
        gallery=gallery,
        per_query=per_query,
        answers=answers,
        metrics=tuple(metrics),
    )


STORED = ("queries", "nearest", "nearest_similarity", "nearest_is_positive")
"""Fields of rankings that a summary keeps."""


class _QueryValues:
    """Values of queries, (T,) at a time, each kind in one growing block of memory.

    As arrays of their own they would lie between the large arrays of the rankings, whose memory the allocator then
    cannot use again: 1.2 GiB for one class of 12,000 images.
    """

    def __init__(self) -> None:
        self.parts: dict[str, bytearray] = {}
        self.dtypes: dict[str, np.dtype[Any]] = {}

    def add(self, values: Mapping[str, NDArray[Any]]) -> None:
        for name, array in values.items():
            self.parts.setdefault(name, bytearray()).extend(array.tobytes())
            self.dtypes[name] = array.dtype

    def in_order(self, name: str) -> NDArray[Any]:
        """Return (Q,) values in the order of the queries."""
        values = np.frombuffer(self.parts[name], self.dtypes[name])
        ordered = np.empty_like(values)
        ordered[np.frombuffer(self.parts["queries"], self.dtypes["queries"])] = values
        return ordered

    def answers(self) -> QueryAnswers:
        if not self.parts:
            empty = np.zeros(0)
            return QueryAnswers(empty.astype(np.int64), empty, empty.astype(bool), empty.astype(bool))
        return QueryAnswers(*(self.in_order(name) for name in (*STORED[1:], "has_positive")))


def all_metrics(settings: Mapping[str, Mapping[str, Any]] = {}) -> list[Metric]:
    """Return every metric in the order of tables. settings: type of a metric → fields that differ from its defaults."""
    members = sorted(Metric.members().items(), key=lambda item: item[1].place)
    return [member.model_validate(dict(settings.get(name, {}))) for name, member in members]


def metrics_at(recall_at: Sequence[int]) -> list[Metric]:
    """Return every metric, with R@K for these Ks and for 1; for the default Ks where there are none."""
    return all_metrics({"recall_at_k": {"k": sorted({1, *recall_at})}} if recall_at else {})


ZERO_SHOT, TEXT_TO_IMAGE = "zero_shot_top_1", "text_to_image_recall_at_1"
BY_TEXTS = {ZERO_SHOT: "zero-shot top-1", TEXT_TO_IMAGE: "text→image R@1"}
"""Metrics of a validation by the texts of classes: name in metrics.jsonl → name in tables."""


def metric_key(name: str) -> str:
    """Return the key in metrics.json of a metric's name in tables: `R@1` is `recall_at_1`; any other text as it is.

    The name may have the name of a table before it: `unseen/MAP@R`.
    """
    keys = {shown: key for metric in all_metrics() for key, shown in metric.shown().items()}
    keys |= {shown: key for key, shown in BY_TEXTS.items()}
    table, slash, metric = name.rpartition("/")
    return table + slash + keys.get(metric, metric)


def metrics_per_query() -> set[str]:
    """Return the names in metrics.json of the metrics that are means over queries."""
    zeros, ones = np.zeros(1, np.int64), np.ones(1, np.int64)
    ranking = Ranking(zeros, ones, ones, zeros, np.ones(1), np.ones(1, bool), 1)
    return {name for metric in all_metrics() for name in metric.per_query(ranking)}


def mean_per_query(ranking: Ranking, contributions: Floats, divisor: Floats) -> Floats:
    """Sum the contributions of each query's positives and divide; (T,) values, NaN for a query without a positive.

    Args:
        ranking: Of T queries.
        contributions: (sum of positives,) in the order of the ranking's ranks.
        divisor: (T,).
    """
    total = np.bincount(ranking.query_of_rank, weights=contributions, minlength=len(ranking.positives))
    return np.where(ranking.positives > 0, total / np.maximum(divisor, 1), np.nan)


def best_rank(ranking: Ranking) -> Floats:
    """Return (T,) the rank of each query's first positive, NaN for a query without one."""
    best = np.full(len(ranking.positives), np.nan)
    first = ranking.order_of_rank == 1
    best[ranking.query_of_rank[first]] = ranking.ranks[first]
    return best
