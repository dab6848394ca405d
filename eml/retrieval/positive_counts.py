"""Counts of the gallery images that are above each positive of a query."""

import numpy as np
import torch
from torch import Tensor

from eml.retrieval.similarity import TILE

CACHED = 256  # rows of a block that stay in a core's cache while they are compared several times: 1 MiB
FEW = 10  # thresholds up to which one comparison for each is quicker than a sort
SPARSE = 32  # images above a query's worst positive are looked at singly if they are at most one in so many


class PositiveCounts:
    """The positives of T queries, best first, and how many of the other images are above each.

    Attributes:
        similarities: (T, R) cosines, descending, −inf beyond a query's positives.
        indices: (T, R) gallery indices; the length of the gallery beyond a query's positives.
        counts: (T,) number of positives.
        above: (T, R) images counted so far that are no positives and rank above this one.
    """

    def __init__(self, similarities: Tensor, indices: Tensor, counts: Tensor) -> None:
        self.similarities, self.indices, self.counts = similarities, indices, counts
        self.just_above = torch.nextafter(similarities, torch.full_like(similarities, torch.inf))
        infinite = similarities.new_full((len(counts), 1), torch.inf)
        finite = torch.cat([similarities.masked_fill(similarities == -torch.inf, torch.inf), infinite], 1)
        self.worst = finite.amin(1, keepdim=True)  # (T, 1) of the positives, ∞ without any
        self.above = torch.zeros_like(indices)

    def count(self, tile: Tensor, first: int) -> None:
        """Count the images of a block that are above each positive. tile: (T, n), of the gallery from `first`.

        At equal similarity an image is above a positive that comes after it in the gallery.
        """
        if not self.indices.shape[1]:
            return
        if tile.device.type == "cpu" and self._count_singly(tile, first):
            return
        stop = first + tile.shape[1]
        limits = torch.where(self.indices >= stop, self.similarities, self.just_above)
        above = _count_at_least(tile, limits)
        inside = (self.indices >= first) & (self.indices < stop)
        if inside.any():
            reached = _count_at_least(tile, torch.where(inside, self.similarities, limits))
            rows, columns = torch.nonzero(reached > above, as_tuple=True)
            places = torch.arange(first, stop, device=tile.device)
            for row, column in zip(rows.split(TILE), columns.split(TILE), strict=True):
                equal = tile[row] == self.similarities[row, column].unsqueeze(1)
                before = places < self.indices[row, column].unsqueeze(1)
                above[row, column] += (equal & before).sum(1)
        self.above += above

    def _count_singly(self, tile: Tensor, first: int) -> bool:
        """Compare only the images that reach a query's worst positive, if they are few; return whether they were."""
        candidates = (tile >= self.worst).numpy()
        if np.count_nonzero(candidates) * max(self.indices.shape[1], 8) > candidates.size * 8 // SPARSE:
            return False
        row, column = map(torch.from_numpy, np.divmod(np.flatnonzero(candidates), candidates.shape[1]))
        value, limits = tile[row, column].unsqueeze(1), self.similarities[row]
        before = (column + first).unsqueeze(1) < self.indices[row]
        self.above.index_add_(0, row, ((value > limits) | ((value == limits) & before)).long())
        return True


def _count_at_least(tile: Tensor, limits: Tensor) -> Tensor:
    """Count the entries of each row of tile (T, n) that are at least each of the row's limits (T, R), descending."""
    rows, width = tile.shape
    if limits.shape[1] <= FEW:
        counts = torch.empty(limits.shape, dtype=torch.int64, device=tile.device)
        for first in range(0, rows, CACHED):
            part = slice(first, first + CACHED)
            for i in range(limits.shape[1]):
                counts[part, i] = _count_true(tile[part] >= limits[part, i : i + 1])
        return counts
    if limits.shape[1] <= width:
        ordered = torch.from_numpy(np.sort(tile.numpy(), axis=1)) if tile.device.type == "cpu" else tile.sort(1)[0]
        return width - torch.searchsorted(ordered, limits)
    passed = torch.searchsorted(limits.flip(1), tile, right=True)  # how many of the lowest limits each entry reaches
    counts = torch.zeros(rows, limits.shape[1] + 1, dtype=torch.int64, device=tile.device)
    counts.scatter_add_(1, passed, torch.ones_like(passed))
    return counts.flip(1).cumsum(1)[:, :-1]


def _count_true(flags: Tensor) -> Tensor:
    """Count the flags that are set in each row of flags (T, n), n a multiple of 8, eight bytes at a time.

    torch's own sum converts them to integers first and takes five times as long.
    """
    words = flags.view(torch.int64)
    parts = next(n for n in range(1, words.shape[1] + 1) if words.shape[1] % n == 0 and words.shape[1] // n <= 255)
    sums = words.view(len(flags), parts, -1).sum(2)  # a byte holds up to 255
    return sums.view(torch.uint8).sum(1)
