import torch

from eml.head.class_weights import random_rows
from eml.head.shards import Shard


def test_every_class_is_in_one_shard_and_begins_as_in_one_process() -> None:
    torch.manual_seed(3)
    whole = random_rows(Shard.whole(9001), 3, torch.float32, block=1024)
    after = torch.rand(())
    for world in (1, 2, 3, 7):
        shards = [Shard(9001, rank * 9001 // world, (rank + 1) * 9001 // world) for rank in range(world)]
        rows = []
        for shard in shards:
            torch.manual_seed(3)
            rows.append(random_rows(shard, 3, torch.float32, block=1024))
            assert torch.rand(()) == after, "what is drawn next is the same too"
        torch.testing.assert_close(torch.cat(rows), whole, rtol=0, atol=0)


def test_first_class_weights_are_normal_numbers_of_another_kind_in_each_block() -> None:
    torch.manual_seed(0)
    blocks = random_rows(Shard.whole(64 * 64), 64, torch.float64, block=64).view(64, -1)
    assert blocks.mean().abs() < 0.01  # 0.002 is a deviation
    assert (blocks.square().mean(1) - 1).abs().max() < 0.1
    assert (torch.corrcoef(blocks) - torch.eye(64)).abs().max() < 0.08  # 0.016 is a deviation, of 2,016 pairs
    torch.manual_seed(1)
    assert not torch.isclose(random_rows(Shard.whole(64), 64, torch.float64)[0], blocks[0, :64]).any()
