"""What a threshold is chosen by: a rate, as a function of the threshold and of how much each class weighs.

Weights per class make one code serve the data as they are (all 1) and a resample of their classes (how often each was
drawn). Accepted is what is at least the threshold; of thresholds that keep to a rate the lowest similarity in the data
is taken, so that equal similarities are accepted together.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eml.retrieval.verification.open_set import Asked, NearestClasses
from eml.retrieval.verification.pair_rates import TILE_ENTRIES, Accepted, unit_length
from eml.retrieval.verification.thresholds import Floats, accepted, lowest_precise, lowest_within, shares, summed

MOST_PAIRS = 1 << 18
"""Pairs kept for resampling; of more, a random share, which adds half a hundredth to a rate's error."""
TAIL = 5
"""Pairs are kept down to where this many times the wanted rate is accepted, since resamples need more than the data."""
SEED = 28


@dataclass(frozen=True)
class Resampled:
    """thresholds: (R, G) that resamples give for G goals. rates: (R, G) of all the classes at these thresholds."""

    thresholds: Floats
    rates: Floats


class Criterion(ABC):
    """A rate that a threshold decides. classes: how many weigh; weights are (classes,)."""

    classes: int
    key: ClassVar[str]

    @abstractmethod
    def thresholds(self, goals: Floats, weights: Floats) -> Floats:
        """The lowest threshold that keeps to each of the goals (G,); NaN where there is none."""

    @abstractmethod
    def rates(self, thresholds: Floats, weights: Floats) -> Floats:
        """The rate at each threshold (T,); NaN where it is a share of nothing."""

    def resampled(self, goals: Floats, resamples: int, seed: int) -> "Resampled":
        """What resamples of the classes say: here C of C with replacement."""
        draws = drawn(self.classes, resamples, seed)
        thresholds = np.array([self.thresholds(goals, each) for each in draws])
        rates = self.rates(thresholds.ravel(), np.ones(self.classes)).reshape(thresholds.shape)
        return Resampled(thresholds, rates)

    def threshold(self, goal: float) -> float:
        """The lowest that keeps to the goal on the data as they are."""
        return float(self.thresholds(np.array([goal]), np.ones(self.classes))[0])

    def rate(self, threshold: float) -> float:
        """At a threshold, on the data as they are."""
        return float(self.rates(np.array([threshold]), np.ones(self.classes))[0])


@dataclass(frozen=True)
class UnknownQueries(Criterion):
    """False-accept rate of unknown queries. similarity: (M,) descending, of the nearest; code: (M,) of the query.

    near: of the queries, in the same order.
    """

    similarity: Floats
    code: NDArray[np.int64]
    classes: int
    near: NearestClasses
    key: ClassVar[str] = "false_accept_rate"

    @classmethod
    def of(cls, asked: Asked) -> "UnknownQueries":
        """Every query, as if its class were not in the gallery."""
        some = np.flatnonzero(asked.stranger > -np.inf)
        order = some[np.argsort(-asked.stranger[some], kind="stable")]
        near = NearestClasses(asked.near.similarity[order], asked.near.code[order])
        return cls(asked.stranger[order].astype(np.float64), asked.code[order], asked.classes, near)

    def thresholds(self, goals: Floats, weights: Floats) -> Floats:
        """See `Criterion`."""
        each = weights[self.code]
        return lowest_within(self.similarity, each, goals * each.sum())

    def rates(self, thresholds: Floats, weights: Floats) -> Floats:
        """See `Criterion`."""
        each = weights[self.code]
        return shares(summed(each, accepted(self.similarity, thresholds)), each.sum())

    def resampled(self, goals: Floats, resamples: int, seed: int) -> Resampled:
        """Of random halves of the classes, each its own gallery: a resample with replacement would have a small one.

        A half without replacement varies as much as a resample of the whole does with it (the jackknife that leaves out
        half, Shao & Tu 1995, ch. 2). The rates are of all halves together, whose galleries are of the same size.
        """
        halves = [self.within(half) for half in random_halves(self.classes, resamples, seed)]
        thresholds = np.array([lowest_within(each, np.ones(len(each)), goals * len(each)) for each in halves])
        everyone = np.sort(np.concatenate(halves))[::-1]
        rates = shares(accepted(everyone, thresholds.ravel()).astype(float), len(everyone))
        rates[np.isnan(thresholds.ravel())] = np.nan  # a half without a query says nothing
        return Resampled(thresholds, rates.reshape(thresholds.shape))

    def without_each(self, threshold: float) -> Floats:
        """(C,) the rate at a threshold without each of the classes, asked and in the gallery; NaN: plays no part.

        A query whose nearest is of that class is answered by the class that comes next.
        """
        following = self.near.similarity[:, 1]
        passes = self.similarity >= threshold
        lost, unanswered = passes & (following < threshold), following == -np.inf
        own, others, asked, gone = (
            np.bincount(each, minlength=self.classes).astype(np.float64)
            for each in (self.code[passes], self.near.code[lost, 0], self.code, self.near.code[unanswered, 0])
        )
        found = shares(passes.sum() - own - others, len(passes) - asked - gone)
        found[(asked == 0) & (others == 0)] = np.nan
        return found

    def within(self, half: NDArray[np.bool_]) -> Floats:
        """Descending similarities of the queries of some classes, with a gallery of them alone. half: (classes,)."""
        some = np.flatnonzero(half[self.code])
        nearest = _nearest_within(self.near, some, half)
        return -np.sort(-nearest[nearest > -np.inf].astype(np.float64))


@dataclass(frozen=True)
class TopAnswers(Criterion):
    """Precision: share of right ones among the accepted nearest images of known queries.

    similarity: (M,) descending, of the nearest of all; right: (M,) whether that is a positive; positive: (M,)
    the nearest positive; code, near: as above.
    """

    similarity: Floats
    right: NDArray[np.bool_]
    positive: NDArray[np.float32]
    code: NDArray[np.int64]
    classes: int
    near: NearestClasses
    key: ClassVar[str] = "precision"

    @classmethod
    def of(cls, asked: Asked) -> "TopAnswers":
        """The queries that have a positive."""
        known = np.flatnonzero(asked.known)
        order = known[np.argsort(-asked.top[known], kind="stable")]
        near = NearestClasses(asked.near.similarity[order], asked.near.code[order])
        top = asked.top[order].astype(np.float64)
        return cls(top, asked.right[order], asked.positive[order], asked.code[order], asked.classes, near)

    def thresholds(self, goals: Floats, weights: Floats) -> Floats:
        """The lowest with at least that precision among at least 1 / (1 − goal) accepted: fewer could not show it."""
        return lowest_precise(self.similarity, self.right, weights[self.code], goals)

    def rates(self, thresholds: Floats, weights: Floats) -> Floats:
        """See `Criterion`."""
        each, number = weights[self.code], accepted(self.similarity, thresholds)
        return shares(summed(each * self.right, number), summed(each, number))

    def resampled(self, goals: Floats, resamples: int, seed: int) -> Resampled:
        """Of random halves of the classes, as of `UnknownQueries`."""
        halves = [self.within(half) for half in random_halves(self.classes, resamples, seed)]
        thresholds = np.array([lowest_precise(top, right, np.ones(len(top)), goals) for top, right in halves])
        top, right = (np.concatenate([each[place] for each in halves]) for place in range(2))
        order = np.argsort(-top, kind="stable")
        number = accepted(top[order], thresholds.ravel())
        rates = shares(summed(right[order].astype(np.float64), number), number.astype(np.float64))
        return Resampled(thresholds, rates.reshape(thresholds.shape))

    def within(self, half: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_]]:
        """similarity, right of the queries of some classes, with a gallery of them alone. half: (classes,)."""
        some = np.flatnonzero(half[self.code])
        stranger, positive = _nearest_within(self.near, some, half), self.positive[some]
        right = (positive > stranger) | ((positive == stranger) & self.right[some])
        top = np.maximum(positive, stranger).astype(np.float64)
        order = np.argsort(-top, kind="stable")
        return top[order], right[order]


@dataclass(frozen=True)
class DifferentPairs(Criterion):
    """False-accept rate of pairs of different classes; a pair weighs the product of its classes' weights.

    So each draw of classes is compared with each other one, and a class drawn twice not with itself (Field & Welsh
    2007, on arrays with both ways resampled). similarity: (M,) descending, of the pairs that are kept, first, second:
    (M,) their classes, sizes: (classes,) images. kept: share of the pairs above `floor` that is kept. complete:
    whether nothing lies below the floor.
    """

    similarity: Floats
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    sizes: Floats
    floor: float
    kept: float
    complete: bool
    key: ClassVar[str] = "pair_false_accept_rate"

    @property
    def classes(self) -> int:  # type: ignore[override]
        """How many weigh."""
        return len(self.sizes)

    @classmethod
    def above(cls, embeddings: Tensor, labels: NDArray[np.int64], floor: float, count: int) -> "DifferentPairs":
        """The different pairs of at least `floor`, of which there are about `count`. labels: (N,) 0…C−1."""
        unit, codes = unit_length(embeddings), torch.tensor(labels)
        kept = min(1.0, MOST_PAIRS / max(1, count))
        generator, first, found = torch.Generator().manual_seed(SEED), 0, []
        while first < len(unit) - 1:
            rows = min(max(1, TILE_ENTRIES // (len(unit) - first)), len(unit) - first)
            similarity = unit[first : first + rows] @ unit[first:].T
            wanted = (similarity >= floor).triu_(1) & (codes[first : first + rows, None] != codes[None, first:])
            a, b = torch.nonzero(wanted, as_tuple=True)
            if kept < 1:
                some = torch.rand(len(a), generator=generator) < kept
                a, b = a[some], b[some]
            found.append((similarity[a, b], codes[a + first], codes[b + first]))
            first += rows
        values, one, other = (torch.cat([each[place] for each in found]).numpy() for place in range(3))
        order = np.argsort(-values, kind="stable")
        sizes = np.bincount(labels).astype(np.float64)
        return cls(values[order].astype(np.float64), one[order], other[order], sizes, floor, kept, floor <= -1)

    @classmethod
    def for_rate(
        cls, embeddings: Tensor, labels: NDArray[np.int64], accepted: Accepted, rate: float
    ) -> "DifferentPairs":
        """As many pairs as a threshold for that rate, and its resamples, need. accepted: counts of all the pairs."""
        wanted = min(int(accepted.different[-1]), max(10_000, int(TAIL * rate * accepted.different[-1])))
        place = int(np.searchsorted(accepted.different, wanted))
        everything = place == len(accepted.different) - 1
        floor = -2.0 if everything else float(accepted.threshold[place])
        return cls.above(embeddings, labels, floor, int(accepted.different[place]))

    def among(self, codes: NDArray[np.int64]) -> "DifferentPairs":
        """The pairs between some of the classes, which are numbered anew in the order given."""
        number = np.full(len(self.sizes), -1)
        number[codes] = np.arange(len(codes))
        first, second = number[self.first], number[self.second]
        inside = (first >= 0) & (second >= 0)
        return replace(
            self,
            similarity=self.similarity[inside],
            first=first[inside],
            second=second[inside],
            sizes=self.sizes[codes],
        )

    def reaches(self, rate: float) -> bool:
        """Whether the pairs kept are enough to see the threshold of a rate."""
        return self.complete or len(self.similarity) / self.kept > rate * self._total(np.ones(self.classes))

    def thresholds(self, goals: Floats, weights: Floats) -> Floats:
        """See `Criterion`; not below the floor."""
        return lowest_within(self.similarity, self._weights(weights), goals * self._total(weights))

    def rates(self, thresholds: Floats, weights: Floats) -> Floats:
        """See `Criterion`; for thresholds from the floor upwards."""
        each = self._weights(weights)
        return shares(summed(each, accepted(self.similarity, thresholds)), self._total(weights))

    def without_each(self, threshold: float) -> Floats:
        """(C,) the rate at a threshold, from the floor upwards, without the pairs of each of the classes."""
        number = accepted(self.similarity, np.array([threshold]))[0]
        own = sum(np.bincount(each[:number], minlength=self.classes) for each in (self.first, self.second))
        images = self.sizes.sum()
        pairs = self._total(np.ones(self.classes)) - self.sizes * (images - self.sizes)
        return shares((number - own) / self.kept, pairs)

    def _weights(self, weights: Floats) -> Floats:
        each: Floats = weights[self.first] * weights[self.second] / self.kept
        return each

    def _total(self, weights: Floats) -> float:
        held = weights * self.sizes
        return float((held.sum() ** 2 - (held**2).sum()) / 2)


def _nearest_within(near: NearestClasses, some: NDArray[np.int64], half: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Similarity of the nearest image of another class that is in the half; −inf: none. some: (n,) queries."""
    there = half[near.code[some]]
    left = np.where(there, near.similarity[some], np.float32(-np.inf))
    nearest: NDArray[np.float32] = np.take_along_axis(left, there.argmax(1)[:, None], 1)[:, 0]
    return nearest


def drawn(classes: int, resamples: int, seed: int) -> Floats:
    """(resamples, classes): how often each class is drawn, C of C with replacement."""
    return np.random.default_rng(seed).multinomial(classes, np.full(classes, 1 / classes), resamples).astype(float)


def random_halves(classes: int, count: int, seed: int) -> NDArray[np.bool_]:
    """(count, classes): whether a class is in the half."""
    order: NDArray[np.int64] = np.random.default_rng(seed).random((count, classes)).argsort(1).argsort(1)
    half: NDArray[np.bool_] = order < classes // 2
    return half
