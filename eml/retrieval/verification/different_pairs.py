"""The false-accept rate of pairs of different classes, as a criterion for a threshold."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from eml.retrieval.arrays import Floats, Integers
from eml.retrieval.similarity import pair_tiles, unit_length_on_device
from eml.retrieval.verification.criteria import Criterion
from eml.retrieval.verification.open_set import renumber
from eml.retrieval.verification.pair_counts import AcceptedPairs, same_class
from eml.retrieval.verification.thresholds import count_accepted, divide, lowest_within, sum_first

MOST_PAIRS = 1 << 18
"""Most pairs kept for resampling; of more, a random share is kept, which adds half a hundredth to a rate's error."""
TAIL = 5
"""Pairs are kept down to where this many times the goal's rate is accepted, since resamples need more than the data."""
SEED = 28


@dataclass(frozen=True)
class DifferentPairs(Criterion):
    """The share of the pairs of different classes that are accepted; a pair weighs the product of its classes' weights.

    So each draw of a class is compared with each draw of another, and a class that is drawn twice not with itself
    (Field & Welsh 2007, on arrays with both ways resampled).

    Attributes:
        similarity: (M,) cosines of the pairs that are kept, descending.
        first: (M,) class of a pair's first image.
        second: (M,) class of a pair's second image.
        sizes: (C,) images of each class.
        floor: Cosine above which pairs are kept.
        kept: Share of the pairs above the floor that is kept.
        complete: Whether no pair is below the floor.
    """

    similarity: Floats
    first: Integers
    second: Integers
    sizes: Floats
    floor: float
    kept: float
    complete: bool
    key: ClassVar[str] = "pair_false_accept_rate"

    @property
    def classes(self) -> int:  # type: ignore[override]
        """The number of classes C."""
        return len(self.sizes)

    @classmethod
    def above(cls, embeddings: Tensor, labels: Integers, floor: float, count: int) -> "DifferentPairs":
        """Collect the pairs of different classes whose cosine is at least a floor.

        Args:
            embeddings: (N, D), of any length but 0.
            labels: (N,) integers 0…C−1.
            floor: A cosine; −1 or less collects all pairs.
            count: About how many such pairs there are. Above `MOST_PAIRS` a random share is kept.

        Raises:
            DataError: Embeddings are NaN, infinite or zero.
        """
        unit = unit_length_on_device(embeddings)
        codes = torch.tensor(labels, device=unit.device)
        kept = min(1.0, MOST_PAIRS / max(1, count))
        generator, parts = torch.Generator().manual_seed(SEED), []
        for start, tile in pair_tiles(unit):
            chosen = (tile >= floor).triu_(1) & ~same_class(codes, start, tile)
            row, column = torch.nonzero(chosen, as_tuple=True)
            if kept < 1:
                sample = (torch.rand(len(row), generator=generator) < kept).to(row.device)
                row, column = row[sample], column[sample]
            parts.append((tile[row, column], codes[row + start], codes[column + start]))
        values, first, second = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
        order = np.argsort(-values, kind="stable")
        sizes = np.bincount(labels).astype(np.float64)
        return cls(values[order].astype(np.float64), first[order], second[order], sizes, floor, kept, floor <= -1)

    @classmethod
    def for_rate(cls, embeddings: Tensor, labels: Integers, accepted: AcceptedPairs, rate: float) -> "DifferentPairs":
        """Collect as many pairs as the threshold for a rate, and its resamples, need.

        Args:
            embeddings: (N, D), of any length but 0.
            labels: (N,) integers 0…C−1.
            accepted: Counts of all the pairs.
            rate: The goal, in (0, 1).
        """
        count = min(int(accepted.different[-1]), max(10_000, int(TAIL * rate * accepted.different[-1])))
        place = int(np.searchsorted(accepted.different, count))
        everything = place == len(accepted.different) - 1
        floor = -2.0 if everything else float(accepted.threshold[place])
        return cls.above(embeddings, labels, floor, int(accepted.different[place]))

    def among(self, codes: Integers) -> "DifferentPairs":
        """Return the pairs between some of the classes.

        Args:
            codes: Distinct classes; they get new labels in this order, from 0.
        """
        new_labels = renumber(codes, len(self.sizes))
        first, second = new_labels[self.first], new_labels[self.second]
        inside = (first >= 0) & (second >= 0)
        return replace(
            self,
            similarity=self.similarity[inside],
            first=first[inside],
            second=second[inside],
            sizes=self.sizes[codes],
        )

    def reaches(self, rate: float) -> bool:
        """Return whether the kept pairs are enough to find the threshold of a rate."""
        return self.complete or len(self.similarity) / self.kept > rate * self._total(np.ones(self.classes))

    def thresholds(self, goals: Floats, weights: Floats) -> Floats:
        """Return (G,) the lowest threshold that accepts at most each share of the pairs, not below the floor."""
        return lowest_within(self.similarity, self._weights(weights), goals * self._total(weights))

    def rates(self, thresholds: Floats, weights: Floats) -> Floats:
        """Return (T,) the share of the pairs that each threshold accepts, for thresholds from the floor upwards."""
        number = count_accepted(self.similarity, thresholds)
        return divide(sum_first(self._weights(weights), number), self._total(weights))

    def rates_without_each(self, threshold: float) -> Floats:
        """Return (C,) the rate at a threshold, from the floor upwards, without the pairs of each class."""
        number = count_accepted(self.similarity, np.array([threshold]))[0]
        own = sum(np.bincount(labels[:number], minlength=self.classes) for labels in (self.first, self.second))
        images = self.sizes.sum()
        pairs = self._total(np.ones(self.classes)) - self.sizes * (images - self.sizes)
        return divide((number - own) / self.kept, pairs)

    def _weights(self, weights: Floats) -> Floats:
        per_pair: Floats = weights[self.first] * weights[self.second] / self.kept
        return per_pair

    def _total(self, weights: Floats) -> float:
        """Return the weight of all pairs of different classes, kept or not."""
        images = weights * self.sizes
        return float((images.sum() ** 2 - (images**2).sum()) / 2)
