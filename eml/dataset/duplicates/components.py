"""Connected components of pairs that arrive block by block, so that the pairs need not be held."""

import numpy as np
from numpy.typing import NDArray

MERGE_AT = 1_000_000  # pairs held before they are merged

Indices = NDArray[np.int64]


class Components:
    """Connected components of N items, merged block by block."""

    def __init__(self, size: int) -> None:
        self._root = np.arange(size)  # of each item: the smallest item of its component
        self._held: list[tuple[Indices, Indices]] = []
        self._count = 0

    def add(self, i: Indices, j: Indices) -> None:
        """Connect i[n] and j[n] for every n."""
        self._held.append((i, j))
        self._count += len(i)
        if self._count >= MERGE_AT:
            self._merge()

    def labels(self) -> Indices:
        """Return (N,) the smallest item of each item's component."""
        self._merge()
        return self._root

    def _merge(self) -> None:
        if not self._held:
            return
        i, j = (np.concatenate(side) for side in zip(*self._held, strict=True))
        while (apart := self._root[i] != self._root[j]).any():
            i, j = i[apart], j[apart]
            first, second = self._root[i], self._root[j]
            np.minimum.at(self._root, np.maximum(first, second), np.minimum(first, second))
            while ((up := self._root[self._root]) != self._root).any():
                self._root = up
        self._held, self._count = [], 0
