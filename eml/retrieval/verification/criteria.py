"""The rates that a threshold is chosen by, as functions of the threshold and of how much each class weighs.

Weights per class make the same code serve the data as they are (all 1) and a resample of their classes (how often each
was drawn). A similarity is accepted if it is at least the threshold. Of the thresholds that meet a goal the lowest
similarity in the data is taken, so that equal similarities are accepted together.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from eml.retrieval.arrays import Booleans, Floats, Integers
from eml.retrieval.verification.open_set import NearestClasses, OpenSetQueries
from eml.retrieval.verification.thresholds import count_accepted, divide, lowest_precise, lowest_within, sum_first


@dataclass(frozen=True)
class ResampledThresholds:
    """The thresholds of R resamples of the classes for G goals.

    Attributes:
        thresholds: (R, G), NaN where a resample has none.
        rates: (R, G) rates of all the classes at these thresholds.
    """

    thresholds: Floats
    rates: Floats


class Criterion(ABC):
    """A rate that depends on a threshold. `classes` is the number of classes C, `key` its name among measured rates."""

    classes: int
    key: ClassVar[str]

    @abstractmethod
    def thresholds(self, goals: Floats, weights: Floats) -> Floats:
        """Return (G,) the lowest threshold that meets each goal; NaN if there is none.

        Args:
            goals: (G,) rates in (0, 1).
            weights: (C,) how much each class counts.
        """

    @abstractmethod
    def rates(self, thresholds: Floats, weights: Floats) -> Floats:
        """Return (T,) the rate at each threshold; NaN for a share of nothing.

        Args:
            thresholds: (T,) cosines.
            weights: (C,) how much each class counts.
        """

    def resample(self, goals: Floats, resamples: int, seed: int) -> ResampledThresholds:
        """Compute the thresholds of resamples of the classes: by default C of C with replacement.

        Args:
            goals: (G,) rates in (0, 1).
            resamples: Their number R.
            seed: Of the draws.
        """
        draws = draw_classes(self.classes, resamples, seed)
        thresholds = np.array([self.thresholds(goals, weights) for weights in draws])
        rates = self.rates(thresholds.ravel(), np.ones(self.classes)).reshape(thresholds.shape)
        return ResampledThresholds(thresholds, rates)

    def threshold(self, goal: float) -> float:
        """Return the lowest threshold that meets the goal on the data as they are; NaN if there is none."""
        return float(self.thresholds(np.array([goal]), np.ones(self.classes))[0])

    def rate(self, threshold: float) -> float:
        """Return the rate at a threshold on the data as they are; NaN for a share of nothing."""
        return float(self.rates(np.array([threshold]), np.ones(self.classes))[0])


@dataclass(frozen=True)
class UnknownScores(Criterion):
    """The share of queries of unknown classes whose score a threshold accepts, by one gallery.

    Attributes:
        similarity: (M,) scores, descending.
        labels: (M,) classes of the queries.
        classes: C.
    """

    similarity: Floats
    labels: Integers
    classes: int
    key: ClassVar[str] = "false_accept_rate"

    def thresholds(self, goals: Floats, weights: Floats) -> Floats:
        """Return (G,) the lowest threshold that accepts at most each share of the queries."""
        per_query = weights[self.labels]
        return lowest_within(self.similarity, per_query, goals * per_query.sum())

    def rates(self, thresholds: Floats, weights: Floats) -> Floats:
        """Return (T,) the share of the queries that each threshold accepts."""
        per_query = weights[self.labels]
        return divide(sum_first(per_query, count_accepted(self.similarity, thresholds)), per_query.sum())


@dataclass(frozen=True)
class UnknownQueries(UnknownScores):
    """The false-accept rate of unknown queries: the share whose nearest image of another class is accepted.

    Attributes:
        similarity: (M,) cosine of the nearest image of another class, descending.
        labels: (M,) classes of the queries.
        classes: C.
        nearest_classes: Of the queries.
    """

    nearest_classes: NearestClasses

    @classmethod
    def from_queries(cls, queries: OpenSetQueries) -> "UnknownQueries":
        """Take every query as if its class were not in the gallery."""
        nearest = queries.nearest_other_class
        rows = np.flatnonzero(nearest > -np.inf)
        order = rows[np.argsort(-nearest[rows], kind="stable")]
        similarity = nearest[order].astype(np.float64)
        return cls(similarity, queries.labels[order], queries.classes, queries.nearest_classes.of(order))

    def resample(self, goals: Floats, resamples: int, seed: int) -> ResampledThresholds:
        """Compute the thresholds of random halves of the classes, each its own gallery.

        A resample with replacement would have a small gallery. A half without replacement varies as much as a resample
        of the whole does with it (the jackknife that leaves out half, Shao & Tu 1995, ch. 2). The rates are those of
        all halves together, whose galleries are of the same size.
        """
        halves = [self.within(half) for half in draw_halves(self.classes, resamples, seed)]
        thresholds = np.array([lowest_within(half, np.ones(len(half)), goals * len(half)) for half in halves])
        pooled = np.sort(np.concatenate(halves))[::-1]
        rates = divide(count_accepted(pooled, thresholds.ravel()).astype(float), len(pooled))
        rates[np.isnan(thresholds.ravel())] = np.nan  # a half without a query has no rate
        return ResampledThresholds(thresholds, rates.reshape(thresholds.shape))

    def rates_without_each(self, threshold: float) -> Floats:
        """Return (C,) the rate at a threshold without each class, as query and in the gallery; NaN: plays no part.

        A query whose nearest image is of that class is answered by the class that comes next.
        """
        similarity = self.nearest_classes.similarity
        following = similarity[:, 1] if similarity.shape[1] > 1 else np.full(len(similarity), -np.inf)  # of two classes
        nearest = self.nearest_classes.labels[:, 0]
        passes = self.similarity >= threshold
        refused, unanswered = passes & (following < threshold), following == -np.inf
        accepted_own, accepted_through, own, through = (
            np.bincount(labels, minlength=self.classes).astype(np.float64)
            for labels in (self.labels[passes], nearest[refused], self.labels, nearest[unanswered])
        )
        rates = divide(passes.sum() - accepted_own - accepted_through, len(passes) - own - through)
        rates[(own == 0) & (accepted_through == 0)] = np.nan
        return rates

    def within(self, half: Booleans) -> Floats:
        """Return the descending similarities of the queries of some classes, with a gallery of these classes alone.

        Args:
            half: (C,) whether the class is one of them.
        """
        nearest = self.nearest_classes.nearest_within(np.flatnonzero(half[self.labels]), half)
        return -np.sort(-nearest[nearest > -np.inf].astype(np.float64))


@dataclass(frozen=True)
class TopAnswers(Criterion):
    """Precision: the share of right answers among the accepted nearest images of known queries.

    Attributes:
        similarity: (M,) cosine of the nearest image of all, descending.
        right: (M,) whether that image is a positive.
        nearest_positive: (M,) cosine of the nearest positive.
        labels: (M,) classes of the queries.
        classes: C.
        nearest_classes: Of the queries.
    """

    similarity: Floats
    right: Booleans
    nearest_positive: NDArray[np.float32]
    labels: Integers
    classes: int
    nearest_classes: NearestClasses
    key: ClassVar[str] = "precision"

    @classmethod
    def from_queries(cls, queries: OpenSetQueries) -> "TopAnswers":
        """Take the queries that have a positive."""
        known = np.flatnonzero(queries.known)
        order = known[np.argsort(-queries.top[known], kind="stable")]
        return cls(
            queries.top[order].astype(np.float64),
            queries.right[order],
            queries.nearest_positive[order],
            queries.labels[order],
            queries.classes,
            queries.nearest_classes.of(order),
        )

    def thresholds(self, goals: Floats, weights: Floats) -> Floats:
        """Return (G,) the lowest threshold of each precision among at least 1/(1 − goal) accepted answers.

        Fewer answers could not show the precision.
        """
        return lowest_precise(self.similarity, self.right, weights[self.labels], goals)

    def rates(self, thresholds: Floats, weights: Floats) -> Floats:
        """Return (T,) the precision at each threshold; NaN where nothing is accepted."""
        per_query, number = weights[self.labels], count_accepted(self.similarity, thresholds)
        return divide(sum_first(per_query * self.right, number), sum_first(per_query, number))

    def resample(self, goals: Floats, resamples: int, seed: int) -> ResampledThresholds:
        """Compute the thresholds of random halves of the classes, like `UnknownQueries.resample`."""
        halves = [self.within(half) for half in draw_halves(self.classes, resamples, seed)]
        thresholds = np.array([lowest_precise(top, right, np.ones(len(top)), goals) for top, right in halves])
        top, right = (np.concatenate(values) for values in zip(*halves, strict=True))
        order = np.argsort(-top, kind="stable")
        number = count_accepted(top[order], thresholds.ravel())
        rates = divide(sum_first(right[order].astype(np.float64), number), number.astype(np.float64))
        return ResampledThresholds(thresholds, rates.reshape(thresholds.shape))

    def within(self, half: Booleans) -> tuple[Floats, Booleans]:
        """Return similarity and right of the queries of some classes, with a gallery of these classes alone.

        Args:
            half: (C,) whether the class is one of them.
        """
        rows = np.flatnonzero(half[self.labels])
        nearest, positive = self.nearest_classes.nearest_within(rows, half), self.nearest_positive[rows]
        right = (positive > nearest) | ((positive == nearest) & self.right[rows])
        top = np.maximum(positive, nearest).astype(np.float64)
        order = np.argsort(-top, kind="stable")
        return top[order], right[order]


def draw_classes(classes: int, resamples: int, seed: int) -> Floats:
    """Draw C of C classes with replacement: (resamples, classes), how often each class is drawn."""
    return np.random.default_rng(seed).multinomial(classes, np.full(classes, 1 / classes), resamples).astype(float)


def draw_halves(classes: int, count: int, seed: int) -> Booleans:
    """Draw random halves of the classes: (count, classes), whether a class is in the half."""
    order: Integers = np.random.default_rng(seed).random((count, classes)).argsort(1).argsort(1)
    half: Booleans = order < classes // 2
    return half
