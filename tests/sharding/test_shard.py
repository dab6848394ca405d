"""Which shard a file belongs to."""

import numpy as np
import pytest

from eml.sharding.shard import CutRows, WorkShard, position_of, positions_of, shard_numbers

NAMES = [f"class {number % 7}/image {number}.jpg" for number in range(500)]


@pytest.mark.parametrize("count", [1, 2, 5, 16, 100_000])
def test_a_shard_is_the_part_of_the_unit_interval_that_a_name_falls_into(count: int) -> None:
    positions = [0, 2**32 - 1, 2**63, 2**64 - 1, *map(position_of, NAMES)]
    expected = [position * count >> 64 for position in positions]  # Python's whole numbers have no end
    assert shard_numbers(np.array(positions, np.uint64), count).tolist() == expected


@pytest.mark.parametrize("count", [1, 2, 5, 16])
def test_every_name_is_in_one_shard_and_shards_are_of_like_size(count: int) -> None:
    cut = CutRows(positions_of(NAMES))
    rows = [cut.of(shard) for shard in WorkShard.all(count)]
    assert sorted(row for part in rows for row in part) == list(range(len(NAMES)))
    assert all(part == sorted(part) for part in rows)
    share = len(NAMES) / count
    assert all(abs(len(part) - share) < 5 * share**0.5 for part in rows)


def test_a_name_stays_in_its_shard_whatever_is_added() -> None:
    names = [name for number, name in enumerate(NAMES) if number % 3]
    for shard in WorkShard.all(5):
        before = {names[row] for row in CutRows(positions_of(names)).of(shard)}
        assert before <= {NAMES[row] for row in CutRows(positions_of(NAMES)).of(shard)}


def test_the_position_of_a_name_is_the_same_on_every_machine_and_in_every_version() -> None:
    assert position_of("a/1.jpg") == 0x00B28D7E6A132EB3  # b2sum -l 64


@pytest.mark.parametrize(("count", "index"), [(0, 0), (3, 3), (3, -1), (100_001, 0)])
def test_a_shard_is_one_of_its_count(count: int, index: int) -> None:
    with pytest.raises(ValueError, match="one of 0 to"):
        WorkShard(count, index)
