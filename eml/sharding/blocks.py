"""Rows in blocks by the digests of their names: the units of embedding, which no number of shards divides."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eml.sharding.shard import POSITION_BITS, WorkShard, positions_of, shard_numbers

BLOCK_ROWS = 256
"""The most rows of a block."""

BoxCorners = tuple[int, int, int, int] | None


@dataclass(frozen=True)
class RowBlock:
    """Rows whose positions begin with the same bits.

    Attributes:
        start: The least position that begins with them.
        bits: How many they are.
        part: 0; of a block that bits cannot divide, since its rows have one name, the number of its part.
        rows: The rows, in the order in which they are embedded.
    """

    start: int
    bits: int
    part: int
    rows: tuple[int, ...]

    @property
    def name(self) -> str:
        """The block's name, as in a result: `a3f0000000000000/12`."""
        return f"{self.start:016x}/{self.bits}" + (f".{self.part}" if self.part else "")


def cut_blocks(names: Sequence[str], boxes: Sequence[BoxCorners], most: int = BLOCK_ROWS) -> list[RowBlock]:
    """Return rows in blocks, by the positions of their names.

    A block of more than `most` rows is divided by the next bit of the positions, until none is: so the blocks are the
    same in whichever order the rows are, and a new name changes one block, or divides it.

    Args:
        names: (N,) the file of each row.
        boxes: (N,) the box of each row, None for the whole image.
        most: The most rows of a block.
    """
    positions = positions_of(names)
    keys = [(names[row], boxes[row] or (-1, -1, -1, -1)) for row in range(len(names))]
    order = np.array(sorted(range(len(names)), key=lambda row: (int(positions[row]), keys[row])), np.int64)
    ordered = positions[order]
    blocks, waiting = list[RowBlock](), [(0, 0, 0, len(order))]
    while waiting:
        start, bits, first, end = waiting.pop()
        if end - first > most and bits < POSITION_BITS:
            middle = start + (1 << (POSITION_BITS - 1 - bits))
            place = first + int(np.searchsorted(ordered[first:end], np.uint64(middle)))
            waiting += [(middle, bits + 1, place, end), (start, bits + 1, first, place)]
            continue
        for part, begin in enumerate(range(first, end, most)):
            rows = tuple(order[begin : min(begin + most, end)].tolist())
            blocks.append(RowBlock(start, bits, part, rows))
    return blocks


def empty_shards_line(blocks: Sequence[RowBlock], count: int) -> str | None:
    """Return how many blocks there are, and how many of `count` shards have none; None where all have some."""
    starts = np.array([block.start for block in blocks], np.uint64)
    used = len(np.unique(shard_numbers(starts, count)))
    if used == count:
        return None
    images, kind = sum(len(block.rows) for block in blocks), "block" if len(blocks) == 1 else "blocks"
    text = f"the {images:,} images are cut into {len(blocks):,} {kind} of at most {BLOCK_ROWS}, by a digest of their "
    text += f"names, and one shard embeds a whole block: {count - used:,} of {count:,} shards are empty"
    return f"{text}. More shards than blocks always leave some empty" if count > len(blocks) else text


def blocks_of(shard: WorkShard, blocks: Sequence[RowBlock]) -> list[RowBlock]:
    """Return the blocks of a shard: those whose start is in it. A block is whole in one shard."""
    starts = np.array([block.start for block in blocks], np.uint64)
    numbers: NDArray[np.int64] = shard_numbers(starts, shard.count)
    return [blocks[place] for place in np.flatnonzero(numbers == shard.index).tolist()]
