"""Database augmentation: each gallery image is replaced by a weighted mean of itself and its nearest gallery images."""

from collections.abc import Iterator

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from eml.retrieval.added_scores import ScoresOfQueries
from eml.retrieval.arrays import Embeddings, Integers
from eml.retrieval.reranking.weighted_means import ALPHA, VALUES, cosine_weights, weighted_means
from eml.retrieval.search import Neighbours, nearest
from eml.retrieval.similarity import UnitRows


def augment_database(gallery: Embeddings, neighbours: Neighbours, *, alpha: float = ALPHA) -> Tensor:
    """x′ = (x + Σᵢ max(x·xᵢ, 0)^α xᵢ) / ‖…‖, over the n nearest images xᵢ of x in the gallery.

    Turcot & Lowe 2009 and Arandjelović & Zisserman 2012 for bags of words; with the weights of Radenović 2018.

    Args:
        gallery: (N, D) embeddings, of any length but 0.
        neighbours: The n nearest other gallery images of each.
        alpha: The exponent; 0 weights all neighbours alike.

    Returns:
        (N, D) float32 unit vectors.
    """
    rows = UnitRows(gallery, "gallery")
    weights = cosine_weights(neighbours.similarities.astype(np.float64), alpha)
    return weighted_means(rows.exactly(slice(None)), rows, neighbours.indices, weights)


class AugmentedDatabase:
    """An augmented gallery in which no query augments its own answers.

    A query that is a gallery image too (leave-one-out) is left out of the images that its answers are averaged with,
    and the next neighbour takes its place, as if the query were not in the gallery. Otherwise it would draw its
    neighbours nearer.

    Args:
        gallery: (N, D) embeddings.
        count: Neighbours of each image.
        itself: (Q,) gallery index of each query's own image, −1 for none.
        alpha: The exponent of the weights.

    Attributes:
        embeddings: (N, D) float32, augmented with the whole gallery.
    """

    def __init__(self, gallery: Embeddings, count: int, itself: Integers, alpha: float = ALPHA) -> None:
        self.rows, self.count, self.itself, self.alpha = UnitRows(gallery, "gallery"), count, itself, alpha
        self.lists = nearest(gallery, gallery, count + 1, itself=np.arange(len(gallery)))
        first = Neighbours(self.lists.indices[:, :count], self.lists.similarities[:, :count])
        self.embeddings = augment_database(gallery, first, alpha=alpha)
        listed = first.indices.ravel()
        order = np.argsort(listed, kind="stable")
        self._listing = order // max(1, count)  # images that list image 0, then those that list image 1, …
        self._starts = np.searchsorted(listed[order], np.arange(len(gallery) + 1))

    def pairs(self, queries: Integers) -> tuple[Integers, Integers]:
        """Return (P,) positions in `queries`, and the gallery images that are averaged with their own images."""
        own = self.itself[queries]
        present = np.flatnonzero(own >= 0)
        starts, stops = self._starts[own[present]], self._starts[own[present] + 1]
        sizes = stops - starts
        offsets = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return np.repeat(present, sizes), self._listing[np.repeat(starts, sizes) + offsets]

    def without(self, images: Integers, left_out: Integers) -> Tensor:
        """Return (P, D) the augmented embeddings of images (P,), each without one of its neighbours (P,)."""
        indices = self.lists.indices[images]
        indices = np.where(indices == left_out[:, None], -1, indices)
        weights = cosine_weights(self.lists.similarities[images].astype(np.float64), self.alpha)
        own = self.rows.exactly(torch.from_numpy(images).to(self.rows.embeddings.device))
        return weighted_means(own, self.rows, indices, weights)

    def corrections(self, queries: Tensor) -> ScoresOfQueries | None:
        """Return what is added to the cosines of queries (Q, D) to `embeddings`; None if no query is in the gallery."""
        if not (self.itself >= 0).any():
            return None
        unit = UnitRows(queries, "query")

        def added(batch: Integers) -> sparse.csr_array:
            position, images = self.pairs(batch)
            values = np.empty(len(images), np.float32)
            for part in self._parts(len(images)):
                vectors = self.without(images[part], self.itself[batch[position[part]]]).double()
                change = vectors - self.embeddings[torch.from_numpy(images[part])].double()
                values[part] = (change * unit.exactly(torch.from_numpy(batch[position[part]]))).sum(1).cpu().numpy()
            return sparse.csr_array((values, (position, images)), shape=(len(batch), len(self.embeddings)))

        return added

    def _parts(self, count: int) -> Iterator[slice]:
        step = max(1, VALUES // self.rows.size)
        return (slice(first, first + step) for first in range(0, count, step))
