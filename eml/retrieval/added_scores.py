"""Sparse scores that are added to the cosines of queries to a gallery, tile by tile."""

from collections.abc import Callable

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from eml.retrieval.arrays import Integers

ScoresOfQueries = Callable[[Integers], sparse.csr_array]
"""(T,) positions of queries → (T, N) what is added to their cosines to the gallery."""


class AddedScores:
    """Scores that are added to the cosines of T queries to N gallery images.

    Args:
        scores: (T, N) sparse.
    """

    def __init__(self, scores: sparse.csr_array) -> None:
        self.scores = scores.tocsc()

    def add_to(self, tile: Tensor, first: int) -> None:
        """Add to a tile (T, W) of the gallery from `first`, in place. It may be wider than what is left."""
        self._add(tile, self.scores[:, first : first + tile.shape[1]])

    def add_at(self, tile: Tensor, positions: Integers) -> None:
        """Add to a tile (T, W) whose first columns are the gallery images at `positions`, in place."""
        self._add(tile, self.scores[:, positions])

    def _add(self, tile: Tensor, scores: sparse.csc_array) -> None:
        entries = scores.tocoo()
        if not entries.nnz:
            return
        places = tuple(torch.from_numpy(axis.astype(np.int64)).to(tile.device) for axis in (entries.row, entries.col))
        values = torch.from_numpy(entries.data).to(tile)
        tile.index_put_(places, values, accumulate=True)
