"""How the images near an image vote for its label, without its own vote."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from eml.errors import DataError
from eml.retrieval.search import nearest

K = 50  # images asked; more changes little, since their votes fall with the distance
PERPLEXITY = 15.0
STEPS = 40  # halvings of the temperature's bracket: to the last bit of a float32
HOTTEST, COLDEST = 10.0, 1e-6


@dataclass(frozen=True)
class Votes:
    """nearest: (N, K) rows of the images asked, nearest first, −1 where there are fewer; none is in another space.

    similarities: (N, K) float32 cosines, −inf there. weights: (N, K) of their votes, each row sums to 1, or to 0 of a
    image that is alone in its space. temperatures: space → T.
    """

    labels: NDArray[np.int64]
    spaces: NDArray[np.int64]
    nearest: NDArray[np.int64]
    similarities: NDArray[np.float32]
    weights: NDArray[np.float64]
    temperatures: dict[int, float]

    def shares(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]:
        """(row, label, share of its votes) of every image and each label that has some, ordered by the two; tiled."""
        classes = int(self.labels.max(initial=0)) + 1
        for first in range(0, len(self.labels), 8192):
            part = slice(first, first + 8192)
            rows = np.repeat(np.arange(len(self.labels))[part], self.nearest.shape[1])
            there = self.nearest[part].ravel() >= 0
            keys = rows[there] * classes + self.labels[self.nearest[part].ravel()[there]]
            distinct, place = np.unique(keys, return_inverse=True)
            sums = np.bincount(place, weights=self.weights[part].ravel()[there], minlength=len(distinct))
            yield distinct // classes, distinct % classes, sums.astype(np.float64)


def votes(
    embeddings: Tensor, labels: NDArray[np.int64], spaces: NDArray[np.int64] | None = None, *, k: int = K
) -> Votes:
    """Weight of the vote of neighbour j of image i: exp(s_ij/T) / Σ exp(s_il/T) over its k nearest.

    The leave-one-out probabilities of neighbourhood components analysis (Goldberger 2004, eq. 1) with cosines s in the
    place of distances, of the k nearest alone. T, one a space, is where the median perplexity of the weights
    (van der Maaten 2008, section 2), the number of images that the vote amounts to, is 15: whatever a network's
    similarities are spread over, and so that a few wrong labels nearby do not decide.

    embeddings: (N, D), of any length but 0. labels: (N,). spaces: (N,) numbers of the networks that made the
    embeddings; only those of one network are compared. None: one network made all.
    Raises DataError on NaN, infinite or zero embeddings.
    """
    if not len(embeddings) == len(labels):
        raise DataError(f"{len(embeddings):,} embeddings and {len(labels):,} labels: one for each image is needed")
    spaces = np.zeros(len(labels), np.int64) if spaces is None else spaces
    indices = np.full((len(labels), k), -1)
    similarities = np.full((len(labels), k), -np.inf, np.float32)
    weights = np.zeros((len(labels), k))
    temperatures = {}
    for space in np.unique(spaces).tolist():
        rows = np.flatnonzero(spaces == space)
        inside = embeddings if len(rows) == len(labels) else embeddings[rows]
        found = nearest(inside, inside, k, itself=np.arange(len(rows)))
        indices[rows] = np.where(found.indices < 0, -1, rows[found.indices])
        similarities[rows] = found.similarities
        asked = min(k, len(rows) - 1)
        if asked > 0:
            temperatures[space] = _temperature(found.similarities[:, :asked].astype(np.float64))
            weights[rows, :asked] = _weights(found.similarities[:, :asked], temperatures[space])
    return Votes(labels, spaces, indices, similarities, weights, temperatures)


def _weights(similarities: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Softmax of each row, the first of which is the largest."""
    raised = np.exp((similarities.astype(np.float64) - similarities[:, :1]) / temperature)
    return np.asarray(raised / raised.sum(1, keepdims=True))


def _temperature(similarities: NDArray[np.float64]) -> float:
    """Where the median perplexity of the rows is PERPLEXITY, or half of what is there where that is less."""
    sample = similarities[:: max(1, len(similarities) // 4096)]
    wanted = np.log(max(1.0, min(PERPLEXITY, sample.shape[1] / 2)))
    low, high = np.log(COLDEST), np.log(HOTTEST)
    for _ in range(STEPS):
        middle = (low + high) / 2
        weights = _weights(sample, float(np.exp(middle)))
        entropy = -(weights * np.log(np.maximum(weights, 1e-300))).sum(1)
        low, high = (middle, high) if np.median(entropy) < wanted else (low, middle)
    return float(np.exp(high))
