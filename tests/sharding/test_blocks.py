"""Rows in blocks: the same for any number of shards and in any order, and few of them change with a new file."""

import numpy as np
import pytest

from eml.sharding.blocks import BLOCK_ROWS, RowBlock, blocks_of, cut_blocks, empty_shards_line
from eml.sharding.shard import WorkShard, position_of

NAMES = [f"class {number % 7}/image {number}.jpg" for number in range(3000)]
WHOLE = [None] * len(NAMES)


def contents(blocks: list[RowBlock], names: list[str]) -> dict[str, list[str]]:
    return {block.name: [names[row] for row in block.rows] for block in blocks}


def test_blocks_hold_every_row_once_and_at_most_so_many() -> None:
    blocks = cut_blocks(NAMES, WHOLE)
    assert sorted(row for block in blocks for row in block.rows) == list(range(len(NAMES)))
    assert max(len(block.rows) for block in blocks) <= BLOCK_ROWS
    for block in blocks:
        assert all(
            position_of(NAMES[row]) >> (64 - block.bits) == block.start >> (64 - block.bits) for row in block.rows
        )


def test_the_order_of_the_list_does_not_matter() -> None:
    order = np.random.default_rng(0).permutation(len(NAMES)).tolist()
    shuffled = [NAMES[row] for row in order]
    assert contents(cut_blocks(shuffled, WHOLE), shuffled) == contents(cut_blocks(NAMES, WHOLE), NAMES)


@pytest.mark.parametrize("count", [1, 2, 5, 16, 700])
def test_a_block_is_whole_in_one_shard_of_any_number(count: int) -> None:
    blocks = cut_blocks(NAMES, WHOLE)
    parts = [blocks_of(shard, blocks) for shard in WorkShard.all(count)]
    assert [block for part in parts for block in part] == blocks


def test_blocks_are_told_where_shards_have_none() -> None:
    names = NAMES[:144]
    line = empty_shards_line(cut_blocks(names, WHOLE[:144]), 3)
    assert line is not None
    assert "the 144 images are cut into 1 block of at most 256" in line
    assert "2 of 3 shards are empty. More shards than blocks always leave some empty" in line
    assert empty_shards_line(cut_blocks(NAMES, WHOLE), 3) is None
    uneven = empty_shards_line(cut_blocks(NAMES, WHOLE)[:4], 4)
    assert uneven is not None
    assert "More shards than blocks" not in uneven


def test_a_new_file_changes_one_block_or_divides_it() -> None:
    before = contents(cut_blocks(NAMES, WHOLE), NAMES)
    for number in range(8):
        names = [*NAMES, f"new/{number}.jpg"]
        after = contents(cut_blocks(names, [None] * len(names)), names)
        assert len([name for name in before if before[name] != after.get(name)]) == 1


def test_boxes_of_one_image_are_in_their_own_order_and_are_cut_where_they_are_too_many() -> None:
    names, boxes = ["a.jpg"] * 300, [(number, 0, 400, 9) for number in range(300)]
    order = np.random.default_rng(0).permutation(300).tolist()
    blocks = cut_blocks(names, [boxes[row] for row in order])
    assert [[order[row] for row in block.rows] for block in blocks] == [list(range(256)), list(range(256, 300))]
    assert blocks[1].name == f"{blocks[0].name}.1"
