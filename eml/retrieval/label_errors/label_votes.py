"""Votes of the images near an image for its label; the image itself has no vote."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from eml.errors import DataError
from eml.retrieval.arrays import Floats, Integers
from eml.retrieval.search import nearest

K = 50  # images that vote; more change little, since their votes fall with the distance
PERPLEXITY = 15.0
STEPS = 40  # halvings of the temperature's bracket: to the last bit of a float32
HOTTEST, COLDEST = 10.0, 1e-6
ROWS = 8192  # images whose votes are summed at once


@dataclass(frozen=True)
class Votes:
    """The K images that vote on each of N images.

    Attributes:
        labels: (N,) integers.
        spaces: (N,) numbers of the networks that made the embeddings. Only images of one space vote on each other.
        nearest: (N, K) rows of the voting images, nearest first, −1 where there are fewer.
        similarities: (N, K) float32 cosines, −inf where there are fewer.
        weights: (N, K) weights of the votes. A row sums to 1, or to 0 if the image is alone in its space.
        temperatures: Space → temperature T of the weights.
    """

    labels: Integers
    spaces: Integers
    nearest: Integers
    similarities: NDArray[np.float32]
    weights: Floats
    temperatures: dict[int, float]

    def shares(self) -> Iterator[tuple[Integers, Integers, Floats]]:
        """Yield, for some images at a time, (row, label, share of the row's votes), ordered by row and label.

        A label without votes is left out.
        """
        classes = int(self.labels.max(initial=0)) + 1
        for first in range(0, len(self.labels), ROWS):
            part = slice(first, first + ROWS)
            rows = np.repeat(np.arange(len(self.labels))[part], self.nearest.shape[1])
            present = self.nearest[part].ravel() >= 0
            keys = rows[present] * classes + self.labels[self.nearest[part].ravel()[present]]
            distinct, place = np.unique(keys, return_inverse=True)
            sums = np.bincount(place, weights=self.weights[part].ravel()[present], minlength=len(distinct))
            yield distinct // classes, distinct % classes, sums.astype(np.float64)


def collect_votes(embeddings: Tensor, labels: Integers, spaces: Integers | None = None, *, k: int = K) -> Votes:
    """Compute the weight exp(s_ij/T) / Σ exp(s_il/T) of the vote of neighbour j on image i, over its k nearest.

    These are the leave-one-out probabilities of neighbourhood components analysis (Goldberger 2004, eq. 1), with
    cosines s instead of distances and only the k nearest. T, one for each space, is chosen so that the median
    perplexity of the weights (van der Maaten 2008, section 2), the number of images that the vote amounts to, is 15. So
    the vote does not depend on the spread of a network's similarities, and a few wrong labels nearby do not decide.

    Args:
        embeddings: (N, D), of any length but 0.
        labels: (N,) integers from 0.
        spaces: (N,) numbers of the networks that made the embeddings; None if one made all.
        k: Images that vote on each image.

    Raises:
        DataError: Embeddings are NaN, infinite or zero, or not as many as labels.
    """
    if len(embeddings) != len(labels):
        text = f"{len(embeddings):,} embeddings and {len(labels):,} labels: one for each image is needed"
        raise DataError(text, code="wrong-shape")
    spaces = np.zeros(len(labels), np.int64) if spaces is None else spaces
    indices = np.full((len(labels), k), -1)
    similarities = np.full((len(labels), k), -np.inf, np.float32)
    weights = np.zeros((len(labels), k))
    temperatures = {}
    for space in np.unique(spaces).tolist():
        rows = np.flatnonzero(spaces == space)
        inside = embeddings if len(rows) == len(labels) else embeddings[rows]
        neighbours = nearest(inside, inside, k, itself=np.arange(len(rows)))
        indices[rows] = np.where(neighbours.indices < 0, -1, rows[neighbours.indices])
        similarities[rows] = neighbours.similarities
        count = min(k, len(rows) - 1)
        if count > 0:
            temperatures[space] = _temperature(neighbours.similarities[:, :count].astype(np.float64))
            weights[rows, :count] = _weights(neighbours.similarities[:, :count], temperatures[space])
    return Votes(labels, spaces, indices, similarities, weights, temperatures)


def _weights(similarities: NDArray[np.floating], temperature: float) -> Floats:
    """Return the softmax of each row, whose first entry is the largest."""
    raised = np.exp((similarities.astype(np.float64) - similarities[:, :1]) / temperature)
    return np.asarray(raised / raised.sum(1, keepdims=True))


def _temperature(similarities: Floats) -> float:
    """Return the temperature at which the median perplexity of the rows is PERPLEXITY, or half of the row if less."""
    sample = similarities[:: max(1, len(similarities) // 4096)]
    goal = np.log(max(1.0, min(PERPLEXITY, sample.shape[1] / 2)))
    low, high = np.log(COLDEST), np.log(HOTTEST)
    for _ in range(STEPS):
        middle = (low + high) / 2
        weights = _weights(sample, float(np.exp(middle)))
        entropy = -(weights * np.log(np.maximum(weights, 1e-300))).sum(1)
        low, high = (middle, high) if np.median(entropy) < goal else (low, middle)
    return float(np.exp(high))
