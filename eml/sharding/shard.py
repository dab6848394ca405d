"""Which shard a file belongs to: by a digest of its name alone, so that a new file moves no other one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

POSITION_BITS = 64
MOST_SHARDS = 100_000
"""More are refused: each has files of its own."""


@dataclass(frozen=True)
class WorkShard:
    """One of `count` shards.

    Attributes:
        count: All shards.
        index: The number of this one, from 0 on.
    """

    count: int
    index: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count <= MOST_SHARDS:
            raise ValueError(f"a shard is one of 0 to count − 1, got {self.index} of {self.count}")

    def __str__(self) -> str:
        return f"shard {self.index} of {self.count}"

    @classmethod
    def all(cls, count: int) -> "Iterator[WorkShard]":
        """Yield every shard of `count`."""
        return (cls(count, index) for index in range(count))

    @property
    def name(self) -> str:
        """The beginning of the names of its files: `00003-of-00016`."""
        return f"{self.index:05}-of-{self.count:05}"

    @property
    def words(self) -> list[str]:
        """The options of the command line that ask for it."""
        return ["--shards", str(self.count), "--shard", str(self.index)]


class CutRows:
    """Rows that are cut into shards by their positions.

    Args:
        positions: (N,) uint64, in [0, 2⁶⁴).
    """

    def __init__(self, positions: NDArray[np.uint64]) -> None:
        self.positions = positions
        self._count, self._order, self._bounds = 0, np.zeros(0, np.int64), np.zeros(1, np.int64)

    def of(self, shard: WorkShard) -> list[int]:
        """Return the rows of a shard, in their order."""
        if shard.count != self._count:  # the other shards of as many are asked for next
            numbers = shard_numbers(self.positions, shard.count)
            self._order = np.argsort(numbers, kind="stable")
            self._bounds = np.searchsorted(numbers[self._order], np.arange(shard.count + 1))
            self._count = shard.count
        rows: list[int] = self._order[self._bounds[shard.index] : self._bounds[shard.index + 1]].tolist()
        return rows


def position_of(name: str) -> int:
    """Return where a name lies among all: the first 8 bytes of its blake2b as a number in [0, 2⁶⁴)."""
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def positions_of(names: Sequence[str]) -> NDArray[np.uint64]:
    """Return the position of each name, (N,)."""
    return np.fromiter((position_of(name) for name in names), np.uint64, len(names))


def shard_numbers(positions: NDArray[np.uint64], count: int) -> NDArray[np.int64]:
    """Return ⌊position · count / 2⁶⁴⌋, (N,): the shard of each position. Each shard has one range of positions."""
    high, low = positions >> np.uint64(32), positions & np.uint64(0xFFFFFFFF)
    carried = (low * np.uint64(count)) >> np.uint64(32)
    return ((high * np.uint64(count) + carried) >> np.uint64(32)).astype(np.int64)
