"""Counts of the gallery images that are above each positive of a query."""

from concurrent.futures import Executor

import numpy as np
import torch
from torch import Tensor

from eml.retrieval.counting import count_equal_before, count_reached
from eml.retrieval.similarity import TILE

FEW = 10  # limits up to which, on a GPU, one comparison for each is quicker than a sort
RARE = 64  # a positive that at most one image in so many is above is compared with these alone
LISTED = 8  # positives in a block, for each query, up to which equal images are looked for at each of them
ROWS = 128  # fewer queries are not divided among threads


class PositiveCounts:
    """The positives of T queries, best first, and how many of the other images are above each.

    Attributes:
        similarities: (T, R) cosines, descending, −inf beyond a query's positives.
        indices: (T, R) gallery indices; the length of the gallery beyond a query's positives.
        counts: (T,) number of positives.
        above: (T, R) images counted so far that are no positives and rank above this one.
        threads: Threads that count on a CPU; None to count in this one.
    """

    def __init__(self, similarities: Tensor, indices: Tensor, counts: Tensor, threads: Executor | None = None) -> None:
        self.similarities, self.indices, self.counts, self.threads = similarities, indices, counts, threads
        self.above = torch.zeros_like(indices)
        self.limits = similarities.clone()  # an image is above a positive if its cosine is at least that
        by_index, order = indices.flatten().sort()
        number = int(counts.sum())  # those beyond a query's positives come last
        self.by_index, self.order = by_index[:number].cpu().numpy(), order[:number]
        self.seen = self.next_look = 0
        self.rare = np.zeros(len(indices), np.int64)

    def count(self, tile: Tensor, first: int) -> None:
        """Count the images of a block that are above each positive. tile: (T, n), of the gallery from `first`.

        At equal similarity an image is above a positive that comes after it in the gallery.
        """
        number = self.indices.shape[1]
        if not number:
            return
        inside = self.order[slice(*np.searchsorted(self.by_index, (first, first + tile.shape[1])))]
        reached = self._count_reached(tile) if len(inside) > LISTED * len(tile) else None
        equal = self.similarities.view(-1)[inside]
        self.limits.view(-1)[inside] = equal.nextafter(equal.new_tensor(torch.inf))
        above = self._count_reached(tile)
        if reached is not None:
            inside = inside[(reached > above).view(-1)[inside]]
        for part in inside.split(TILE):
            above.view(-1)[part] += self._count_equal_before(tile, first, part)
        self.above += above
        self.seen += tile.shape[1]

    def _count_equal_before(self, tile: Tensor, first: int, places: Tensor) -> Tensor:
        """Count the images of a block that are equal to the positives at some places and before them in the gallery."""
        rows, stops = places // self.indices.shape[1], self.indices.view(-1)[places] - first
        values = self.similarities.view(-1)[places]
        if tile.device.type == "cpu":
            return torch.from_numpy(count_equal_before(*(array.numpy() for array in (tile, values, rows, stops))))
        columns = torch.arange(tile.shape[1], device=tile.device)
        return ((tile[rows] == values.unsqueeze(1)) & (columns < stops.unsqueeze(1))).sum(1)

    def _count_reached(self, tile: Tensor) -> Tensor:
        """Count the entries of each row of tile (T, n) that are at least each of the row's limits (T, R)."""
        if tile.device.type != "cpu":
            return _count_on_device(tile, self.limits)
        if self.seen >= self.next_look:
            rare = (self.above.numpy() * RARE <= self.seen).sum(1) if self.seen else self.rare
            self.rare = np.minimum(rare, self.counts.numpy())
            self.next_look = 2 * self.seen
        arrays = tile.numpy(), self.limits.numpy(), self.rare
        parts = min(torch.get_num_threads(), len(tile) // ROWS)
        if self.threads is None or parts < 2:
            return torch.from_numpy(count_reached(*arrays))
        counts = self.threads.map(count_reached, *(np.array_split(array, parts) for array in arrays))
        return torch.from_numpy(np.concatenate(list(counts)))


def _count_on_device(tile: Tensor, limits: Tensor) -> Tensor:
    """Count the entries of each row of tile (T, n) that are at least each of the row's limits (T, R), descending."""
    if limits.shape[1] <= FEW:
        return torch.stack([(tile >= limits[:, i : i + 1]).sum(1) for i in range(limits.shape[1])], 1)
    if limits.shape[1] <= tile.shape[1]:
        return tile.shape[1] - torch.searchsorted(tile.sort(1)[0], limits)
    passed = torch.searchsorted(limits.flip(1), tile, right=True)  # how many of the lowest limits each entry reaches
    counts = torch.zeros(len(tile), limits.shape[1] + 1, dtype=torch.int64, device=tile.device)
    counts.scatter_add_(1, passed, torch.ones_like(passed))
    return counts.flip(1).cumsum(1)[:, :-1]
