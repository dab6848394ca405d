"""The highest entries of each row over many tiles: after the first tiles few entries are high enough to be sorted."""

import numpy as np
import torch
from torch import Tensor

from eml.retrieval.arrays import Booleans
from eml.retrieval.counting import positions_of_true

FEW = 8  # rows, up to which nothing waits
ROOM = 128  # entries of a row that wait until they are sorted in, at least; else as many as are kept


class BestEntries:
    """The `count` highest entries of T rows and the numbers of their columns, of the tiles so far.

    Once a row has as many, an entry that is not above its lowest cannot be among them. The others wait until a row has
    too many, and are sorted in together. For few rows each tile is sorted in at once. Of equal entries any may be kept.

    Attributes:
        values: (T, n) the highest entries that are sorted in, descending; fewer than `count` at first.
        numbers: (T, n) the numbers of their columns.
    """

    def __init__(self, rows: int, count: int, dtype: torch.dtype, device: torch.device) -> None:
        self.values = torch.full((rows, 0), -torch.inf, dtype=dtype, device=device)
        self.numbers = torch.zeros(rows, 0, dtype=torch.int64, device=device)
        self.count, self.room = count, max(ROOM, count)
        self.can_wait = rows > FEW and device.type == "cpu" and dtype in (torch.float32, torch.float64)
        self.waiting = np.zeros(rows, np.int64)  # entries of each row
        if self.can_wait:
            self.later = self.values.new_full((rows, self.room), -torch.inf)
            self.numbers_later = self.numbers.new_zeros(rows, self.room)

    def add(self, numbers: Tensor, tile: Tensor) -> None:
        """Add a tile (T, W) whose columns have these numbers (W,)."""
        if not self.can_wait or self.values.shape[1] < self.count:
            self._sort_in(numbers, tile)
            return
        places = positions_of_true(self._above(tile))
        row, column = np.divmod(places, tile.shape[1])
        added = np.bincount(row, minlength=len(tile))
        if added.max(initial=0) > self.room:
            self._sort_in(numbers, tile)
            return
        if (self.waiting + added).max(initial=0) > self.room:
            self._sort_in_waiting()
        starts = np.cumsum(added) - added
        slots = torch.from_numpy(row * self.room + np.arange(len(row)) + (self.waiting - starts)[row])
        self.later.view(-1)[slots] = tile[torch.from_numpy(row), torch.from_numpy(column)]
        self.numbers_later.view(-1)[slots] = numbers[torch.from_numpy(column)]
        self.waiting += added

    def best(self) -> tuple[Tensor, Tensor]:
        """Return (T, n) values and numbers, descending; n is `count`, or all entries if there were fewer."""
        if self.waiting.any():
            self._sort_in_waiting()
        return self.values, self.numbers

    def _above(self, tile: Tensor) -> Booleans:
        """Return (T, W) whether an entry is above the lowest of the row's best."""
        least = self.values[:, -1:]
        if torch.get_num_threads() > 1:
            return np.asarray((tile > least).numpy())
        return np.asarray(tile.numpy() > least.numpy())  # twice as fast on one thread

    def _sort_in(self, numbers: Tensor, tile: Tensor) -> None:
        best, places = tile.topk(min(self.count, tile.shape[1]), dim=1)
        self._join(best, numbers[places])

    def _sort_in_waiting(self) -> None:
        used = int(self.waiting.max(initial=0))
        self._join(self.later[:, :used], self.numbers_later[:, :used])
        self.later[:, :used] = -torch.inf
        self.waiting[:] = 0

    def _join(self, values: Tensor, numbers: Tensor) -> None:
        values, numbers = torch.cat([self.values, values], 1), torch.cat([self.numbers, numbers], 1)
        self.values, order = values.topk(min(self.count, values.shape[1]), dim=1)
        self.numbers = numbers.gather(1, order)
