"""Classes spread over processes give what one process gives, for every margin."""

from pathlib import Path

import pytest
import torch
from sharded import Case, cases, golden, needed, process, steps, steps_of
from test_head_modes import CLASSES
from torch import Tensor

from eml.models.shards import Shard, drawn_rows

Found = dict[Case, dict[str, Tensor]]


@pytest.fixture(scope="module")
def alone() -> Found:
    return {case: steps(case, Shard.whole(CLASSES)) for case in cases()}


@pytest.mark.parametrize("world", [2, 4])
def test_processes_that_share_the_classes_train_as_one(world: int, alone: Found, tmp_path: Path) -> None:
    these = [case for case in alone if world == 2 or steps_of(case) == 10]
    torch.multiprocessing.spawn(process, (world, tmp_path, these), nprocs=world)
    parts: list[Found] = [torch.load(tmp_path / f"{rank}.pt") for rank in range(world)]
    wrong = []
    for case in these:
        expected = alone[case]
        for rank, found in enumerate(part[case] for part in parts):
            assert found.keys() == expected.keys()
            for key, value in expected.items():
                error = (found[key].double() - value.double()).abs().max() / value.double().abs().max().clamp_min(1)
                if not error <= 1e-10:
                    wrong.append(f"{case}, process {rank}: {key} differs by {error:.1e}")
                    break
    for part in parts[: 2 if world == 2 else 0]:
        assert part["needed", 0, False] == {name: size / 2 for name, size in needed(Shard.whole(10)).items()}
        given = golden()
        given["grad_x"] = given["grad_x"] / 2
        for key, value in part["golden", 0, False].items():
            if key in given:
                torch.testing.assert_close(
                    value, given[key].mean() if "loss" in key else given[key], rtol=0, atol=1e-10
                )
    assert not wrong, f"{len(wrong)} of {len(these) * world}: " + "; ".join(wrong[:8])


def test_every_class_is_in_one_shard_and_begins_as_in_one_process() -> None:
    torch.manual_seed(3)
    whole = torch.randn(9001, 3)
    for world in (1, 2, 3, 7):
        shards = [Shard(9001, rank * 9001 // world, (rank + 1) * 9001 // world) for rank in range(world)]
        rows = []
        for shard in shards:
            torch.manual_seed(3)
            rows.append(drawn_rows(shard, lambda count: torch.randn(count, 3), block=1024))
        torch.testing.assert_close(torch.cat(rows), whole, rtol=0, atol=0)
