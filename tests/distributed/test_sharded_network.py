"""A network shared out over processes (`shard_network`) trains as a whole one, and its state is that of a whole."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import nn

from eml.dataset.table import Table
from eml.distributed.processes import Processes
from eml.distributed.sharded_network import is_available, rows_of, units
from eml.errors import ConfigError
from eml.training.build import build_parts
from eml.training.checks import run_notes
from eml.training.config import RunConfig
from eml.training.fit import fit
from eml.training.process_checks import check_processes
from tests.distributed import process_group
from tests.distributed.process_group import task
from tests.training.runs import assert_near, changed, left_by, lines, stop_at

from_torch_2_8 = pytest.mark.skipif(not is_available(), reason="torch shares a network out in this way from 2.8 on")
SGD = {"name": "sgd", "lr": {"backbone": 0.05, "neck": 0.05, "class_weights": 0.5}, "clip": 1.0}
ADAMW = {"name": "adamw", "clip": 1.0, "layer_decay": 0.8}


@pytest.fixture
def runs(config: RunConfig, tmp_path: Path) -> dict[str, RunConfig]:
    """A validation is 5 batches, so that of two processes one has none at last; 5 images are not shared evenly."""
    model = {**config.model.model_dump(), "batch_norm": "frozen", "neck": {"type": "identity"}}
    dropout = {"type": "linear", "size": 16, "dropout": 0.5}
    made = {
        # GeM's power has no dimension, and stays whole.
        "resnet": {"model": {**model, "pooling": "gem"}, "optimizer": ADAMW},
        "vit": {"model": {**model, "backbone": "test_vit", "gradient_checkpointing": True}, "optimizer": ADAMW},
        "parts": {"model": {**model, "backbone": "test_vit", "freeze": 2}, "optimizer": SGD, "accumulate": 2},
        "dropout": {"model": {**model, "batch_norm": "train", "neck": dropout}, "optimizer": ADAMW},
    }
    made["vit"]["tune"], made["parts"]["tune"] = {"type": "lora", "rank": 4}, {"type": "norm"}
    made["vit"]["optimizer"] = {**ADAMW, "start_decay": 50}
    made["vit"]["ema"] = made["dropout"]["ema"] = {}
    common = {"epochs": 1, "batch_size": 5, "seed": 3, "validation": {"batch_size": 6}}
    return {name: changed(config, **common, **given, output=tmp_path / name) for name, given in made.items()}


@pytest.mark.wide  # half a minute of processor time
@pytest.mark.xdist_group("processes")
@pytest.mark.slow
@from_torch_2_8
def test_a_network_that_two_processes_share_out_trains_as_a_whole_one_and_goes_on_as_any(
    runs: dict[str, RunConfig], table: Table, tmp_path: Path
) -> None:
    shared = {
        name: changed(each, output=tmp_path / f"{name} shared", shard_network=True) for name, each in runs.items()
    }
    alone = {name: changed(runs[name], output=tmp_path / f"{name} alone") for name in ("resnet", "vit", "parts")}
    stopped = {name: changed(shared[name], output=tmp_path / f"{name} stopped") for name in ("dropout", "vit")}
    taken_up = changed(shared["resnet"], output=tmp_path / "of one")
    diverging = {**SGD, "lr": {**SGD["lr"], "backbone": 1e25}, "clip": None}
    spoiled = changed(shared["resnet"], output=tmp_path / "spoiled")
    broken = changed(shared["resnet"], output=tmp_path / "broken", optimizer=diverging)
    for each in alone.values():
        fit(each, table)
    stop_at(taken_up, table, 2)
    tasks = [
        task(runs["resnet"], table),
        *(task(each, table) for each in shared.values()),
        *(task(each, table, stop=2) for each in stopped.values()),
        task(stopped["dropout"], table, resume=True),
        task(taken_up, table, resume=True),
        task(broken, table, fails="the first layer whose output is not finite is"),
        task(spoiled, table, fails="weights of the network are not finite", spoiled=1),
    ]
    assert process_group.run(2, tasks, tmp_path) == [(0, ""), (0, "")]
    for name in ("resnet", "vit", "parts"):
        assert_near(shared[name].output, alone[name].output)
        first = [(each.output / "metrics.jsonl").read_bytes().splitlines()[0] for each in (shared[name], alone[name])]
        assert first[0] == first[1], "of the same network a validation is the same to the last bit"
    assert_near(shared["resnet"].output, runs["resnet"].output)
    files = [each["vit"].output / "checkpoints/epoch-001/model.safetensors" for each in (shared, alone)]
    weights, whole = map(load_file, files)
    assert weights.keys() == whole.keys()
    for key, each in weights.items():
        torch.testing.assert_close(each, whole[key], rtol=1e-3, atol=1e-4)
    assert left_by(stopped["dropout"].output) == left_by(shared["dropout"].output), "the same to the last bit"
    assert_near(taken_up.output, alone["resnet"].output)
    fit(changed(stopped["vit"], shard_network=False), table, resume=True)  # no --accept-changes
    assert_near(stopped["vit"].output, alone["vit"].output)
    assert len(lines(spoiled.output)) == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("test_vit", [f"blocks.{number}" for number in range(6)]),
        ("test_resnet", [f"layer{number}.0" for number in (1, 2, 3, 4)]),
        ("test_convnext2", ["stages.0", *(f"stages.{stage}.blocks.0" for stage in (1, 2, 3))]),
        ("regnetx_002", ["s2", "s3", "s4"]),
    ],
)
def test_the_blocks_of_a_network_are_gathered_one_by_one(name: str, expected: list[str]) -> None:
    with torch.device("meta"):
        network = timm.create_model(name, num_classes=0)
    names = {module: key for key, module in network.named_modules()}
    assert [names[each] for each in units(network)] == expected


def test_a_block_that_shares_a_weight_is_not_gathered_by_itself() -> None:
    blocks = [nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(3)]
    blocks[2][0].weight = blocks[0][0].weight
    assert units(nn.Sequential(nn.Sequential(*blocks))) == [blocks[1]]


@pytest.mark.parametrize("rows", [1, 2, 5, 7, 8])
@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_the_rows_of_all_processes_are_those_of_torch_chunk(rows: int, world: int) -> None:
    whole = torch.arange(rows)
    parts = [whole[rows_of(whole, rank, world)].tolist() for rank in range(world)]
    chunks = [each.tolist() for each in whole.chunk(world)]
    assert parts == chunks + [[]] * (world - len(chunks))


def test_a_single_process_notes_that_it_holds_the_whole_network(config: RunConfig, table: Table) -> None:
    notes = run_notes(build_parts(changed(config, shard_network=True), table))
    assert notes == ["shard_network: one process holds the whole network; start several: eml train CONFIG --devices N"]


@from_torch_2_8
def test_what_does_not_go_with_a_network_that_is_shared_out(config: RunConfig) -> None:
    sampled = {"head": {"mode": {"type": "sampled", "fraction": 0.5}}, "optimizer": {"name": "lamb"}}
    wrong = changed(config, shard_network=True, compile=True, **sampled)
    with pytest.raises(ConfigError) as error:
        check_processes(wrong, Processes(0, 2))
    assert error.value.problems == [
        "shard_network: does not work with compile, since the combination is untested; set one of them to false",
        "optimizer.name: lamb needs matrices of the network at once, and each of several processes has only a "
        "part of them; use adamw or sgd",
    ]
    check_processes(changed(wrong, shard_network=False), Processes(0, 2))
