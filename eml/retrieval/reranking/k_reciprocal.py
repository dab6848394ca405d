"""k-reciprocal re-ranking: images that count each other among their nearest move up. Zhong 2017, arXiv:1701.08398.

Sets of neighbours are rows of sparse matrices and queries come some at a time, so that nothing of size N×N is held.
"""

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from eml.errors import ConfigError
from eml.retrieval.arrays import Embeddings, Integers
from eml.retrieval.search import Neighbours
from eml.retrieval.similarity import UnitRows

K1, K2, DISTANCE_WEIGHT = 20, 6, 0.3
"""k1, k2 and λ of the paper's experiments."""
ROWS = 1024  # sets made at once
VALUES = 1 << 21  # entries of sets compared, or values of embeddings multiplied, at once


class ReciprocalGallery:
    """The k-reciprocal sets of a gallery, to which queries are compared.

    Each image is its own first neighbour, so that N(p, k) has k + 1 images, as in the authors' code; otherwise it is
    the paper's section 3. With d(p, g) = 2 − 2 cos(p, g):

    - R(p, k) = {g ∈ N(p, k): p ∈ N(g, k)}, eq. 2; R*(p, k1) adds every R(q, k1/2), q ∈ R(p, k1), of which two thirds
      are in R(p, k1), eq. 3;
    - V(p, g) = exp(−d(p, g)) for g ∈ R*(p, k1), else 0, eq. 7; then the mean of V over the first k2 images, p itself
      among them, eq. 11;
    - the Jaccard similarity Σ min(V_p, V_g) / Σ max(V_p, V_g), eq. 10, and the distance
      (1 − λ)·(1 − Jaccard) + λ·d, eq. 12.

    The sets of the gallery are made once, without the queries, so that an answer does not depend on which other
    queries there are. (The authors put all queries and the gallery into one set.) A query that is a gallery image
    (leave-one-out) has its place in them.

    Args:
        gallery: (N, D) embeddings, of any length but 0.
        neighbours: The k1 nearest other gallery images of each.
        k2: Images of the mean over the neighbours' sets; 1 for none.
        distance_weight: λ in (0, 1].

    Raises:
        ConfigError: k1 or k2 is below 1, or λ is not in (0, 1].
    """

    def __init__(
        self, gallery: Embeddings, neighbours: Neighbours, *, k2: int = K2, distance_weight: float = DISTANCE_WEIGHT
    ) -> None:
        self.k1, self.k2 = neighbours.indices.shape[1], k2
        self.half = max(1, round(self.k1 / 2))
        _check(self.k1, k2, distance_weight)
        self.distance_weight = distance_weight
        self.rows = UnitRows(gallery, "gallery")
        lists = _with_itself(neighbours, np.arange(len(self.rows)))
        self._last = lists.similarities[:, self.k1]  # (N,) of the k1-th neighbour
        self._half_sets = _members(lists, lists.similarities[:, self.half], self.half)
        self._half_sizes = np.diff(self._half_sets.indptr)
        self._raw = sparse.vstack(
            [
                self._raw_sets(self.rows.exactly(slice(first, first + ROWS)), _part(lists, first))
                for first in range(0, len(self.rows), ROWS)
            ],
            format="csr",
        )
        self._sets = self._mean(self._raw, lists).tocsc()
        self._sums = self._sets.sum(1)

    @property
    def factor(self) -> float:
        """What a Jaccard similarity of 1 adds to the cosine: cos + factor · Jaccard ranks as the distance does."""
        return (1 - self.distance_weight) / (2 * self.distance_weight)

    def jaccard(self, queries: Tensor, neighbours: Neighbours, itself: Integers | None = None) -> sparse.csr_array:
        """Return (T, N) Jaccard similarities of queries to the gallery, of those above 0.

        Args:
            queries: (T, D) unit vectors.
            neighbours: The k1 nearest gallery images of each, without the query's own image.
            itself: (T,) gallery index of the query's own image; −1 for none.
        """
        own = np.full(len(queries), -1) if itself is None else itself
        lists = _with_itself(neighbours, own)
        sets = self._mean(self._raw_sets(queries, lists), lists)
        sums = sets.sum(1)
        parts = [self._compare(sets, sums, part) for part in self._parts(sets)]
        return sparse.csr_array(sparse.vstack(parts, format="csr")) if parts else sparse.csr_array(sets.shape)

    def _raw_sets(self, queries: Tensor, lists: Neighbours) -> sparse.csr_array:
        """Return V of eq. 7, (T, N) sparse."""
        reciprocal = _members(lists, self._last, self.k1)
        shared = (reciprocal @ self._half_sets.T).multiply(reciprocal).tocoo()
        joins = 3 * shared.data >= 2 * self._half_sizes[shared.col]
        ones = np.ones(int(joins.sum()), np.int32)
        joining = sparse.csr_array((ones, (shared.row[joins], shared.col[joins])), shape=reciprocal.shape)
        expanded = (reciprocal + joining @ self._half_sets).tocoo()
        cosines = _pair_cosines(queries, self.rows, expanded.row, expanded.col)
        values = np.exp(2 * cosines - 2).astype(np.float32)
        return sparse.csr_array((values, (expanded.row, expanded.col)), shape=expanded.shape)

    def _mean(self, raw: sparse.csr_array, lists: Neighbours) -> sparse.csr_array:
        """Return the means of a query's own set and those of its first k2 − 1 other neighbours, eq. 11."""
        others = lists.indices[:, 1 : self.k2]
        row, place = np.nonzero(others >= 0)
        ones = np.ones(len(row), np.float32)
        chosen = sparse.csr_array((ones, (row, others[row, place])), shape=raw.shape)
        counts = 1 + np.diff(chosen.indptr)
        means = [
            sparse.diags_array((1 / counts[first : first + ROWS]).astype(np.float32))
            @ (raw[first : first + ROWS] + chosen[first : first + ROWS] @ self._raw)
            for first in range(0, raw.shape[0], ROWS)
        ]
        return sparse.csr_array(sparse.vstack(means, format="csr")) if means else raw

    def _parts(self, sets: sparse.csr_array) -> list[slice]:
        """Return slices of queries whose comparisons with the gallery have a bounded number of entries."""
        sizes = np.diff(self._sets.indptr)
        entries = np.add.reduceat(np.append(sizes[sets.indices], 0), np.minimum(sets.indptr[:-1], sets.nnz))
        entries[np.diff(sets.indptr) == 0] = 0
        group = np.cumsum(entries) // VALUES
        starts = np.append(np.flatnonzero(np.append(True, group[1:] != group[:-1])), len(group))
        return [slice(first, stop) for first, stop in pairwise(starts)] if len(group) else []

    def _compare(self, sets: sparse.csr_array, sums: NDArray[np.float32], part: slice) -> sparse.csr_array:
        """Return the Jaccard similarities of some of the queries, by the columns that their sets have."""
        own = sets[part].tocoo()
        starts, sizes = self._sets.indptr[own.col], np.diff(self._sets.indptr)[own.col]
        offsets = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        entries = np.repeat(starts, sizes) + offsets
        lower = np.minimum(self._sets.data[entries], np.repeat(own.data, sizes))
        places = np.repeat(own.row, sizes), self._sets.indices[entries]
        shared = sparse.csr_array((lower, places), shape=(own.shape[0], len(self.rows)))  # sums equal places
        row = np.repeat(np.arange(own.shape[0]), np.diff(shared.indptr))
        shared.data /= sums[part][row] + self._sums[shared.indices] - shared.data
        return shared


def _check(k1: int, k2: int, distance_weight: float) -> None:
    if k1 < 1 or k2 < 1:
        raise ConfigError(f"k1 and k2 must be at least 1, got {k1} and {k2}", code="out-of-range", parameter="rerank")
    if not 0 < distance_weight <= 1:
        text = f"the weight λ of the distance must be above 0 and at most 1, got {distance_weight}"
        raise ConfigError(text, code="out-of-range", parameter="rerank")


def _with_itself(neighbours: Neighbours, itself: Integers) -> Neighbours:
    """Return lists whose first image is the query's own, −1 where it has none in the gallery."""
    ones = np.ones((len(itself), 1), np.float32)
    return Neighbours(np.hstack([itself[:, None], neighbours.indices]), np.hstack([ones, neighbours.similarities]))


def _part(lists: Neighbours, first: int) -> Neighbours:
    return Neighbours(lists.indices[first : first + ROWS], lists.similarities[first : first + ROWS])


def _members(lists: Neighbours, last: NDArray[np.float32], k: int) -> sparse.csr_array:
    """Return R(p, k) of each query p as ones in a row, (T, N). last: (N,) cosine of each image's k-th neighbour.

    p is among the k nearest of g if its cosine is at least that of g's k-th neighbour.
    """
    indices, similarities = lists.indices[:, : k + 1], lists.similarities[:, : k + 1]
    reached = (indices >= 0) & (similarities >= last[np.maximum(indices, 0)])
    row, place = np.nonzero(reached)
    shape = (len(indices), len(last))
    return sparse.csr_array((np.ones(len(row), np.int32), (row, indices[row, place])), shape=shape)


def _pair_cosines(queries: Tensor, gallery: UnitRows, row: Integers, column: Integers) -> NDArray[np.float64]:
    """Return (P,) cosines of queries to gallery images, both by position."""
    cosines = np.empty(len(row))
    step = max(1, VALUES // gallery.size)
    for first in range(0, len(row), step):
        part = slice(first, first + step)
        images = gallery.exactly(torch.from_numpy(column[part].astype(np.int64)).to(gallery.embeddings.device))
        own = queries[torch.from_numpy(row[part].astype(np.int64)).to(queries.device)]
        cosines[part] = (own.to(images) * images).sum(1).cpu().numpy()
    return cosines
