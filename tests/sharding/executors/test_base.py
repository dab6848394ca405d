"""The options of executors, and what is told of shards that fail."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eml.commands.base import Caller
from eml.errors import ConfigError, DataError, Problem
from eml.sharding.executors import executor_of
from eml.sharding.executors.base import ShardBatch, ShardOutcomes, ShardsBar
from eml.sharding.shard import WorkShard
from eml.sharding.shard_run import ShardOutcome


def test_options_are_typed_and_may_be_given_several_times_where_there_may_be_several() -> None:
    slurm: Any = executor_of("slurm", ["partition=cpu", "threads=4", "submit=true", "line=a=b", "line=c"], None)
    assert (slurm.partition, slurm.threads, slurm.submit, slurm.line) == ("cpu", 4, True, ("a=b", "c"))
    assert executor_of("ray", ["gpus=0.5"], "auto").model_dump()["address"] == "auto"


@pytest.mark.parametrize(
    "name, options, address, told",
    [
        (
            "local",
            ["job=2"],
            None,
            "'job=2': executor local takes jobs=…, threads=…, retries=… (did you mean 'jobs'",
        ),
        ("local", ["jobs"], None, "'jobs': executor local takes jobs=…"),
        ("local", ["jobs=0", "threads=x"], None, "jobs must be greater than or equal to 1, got '0'"),
        ("local", [], "auto", 'goes with `executor="ray"`, not with local'),
        ("ray", ["address=auto"], None, "'address=auto': executor ray takes"),
        ("slurm", ["partition=a b"], None, "partition must be"),
        ("slurm", ["line=a\nb"], None, "line must be a line of text without control characters"),
    ],
)
def test_an_option_that_is_wrong_is_told_with_what_is_allowed(
    name: str, options: list[str], address: str | None, told: str
) -> None:
    with pytest.raises(ConfigError) as error:
        executor_of(name, options, address)
    assert told in str(error.value)
    assert {problem.parameter for problem in error.value.problems} <= {"executor_options", "address"}


def outcomes(count: int) -> tuple[ShardOutcomes, list[str], list[int]]:
    warnings, steps = list[str](), list[int]()
    caller = Caller(warn=warnings.append)
    return ShardOutcomes(count, ShardsBar(count, steps.append), caller), warnings, steps


def failed(index: int, text: str, count: int = 4) -> ShardOutcome:
    return ShardOutcome(WorkShard(count, index), (Problem(text, "no-images"),), "", ("a warning",), "here")


def test_each_shard_that_failed_is_named_and_what_all_have_in_common_once() -> None:
    results, warnings, _ = outcomes(4)
    results.add(ShardOutcome(WorkShard(4, 2)))
    results.add(failed(1, "the disk is full"))
    results.add(failed(0, "it is broken"))
    with pytest.raises(DataError) as error:
        results.check()
    assert error.value.problems == [
        "shard 0 of 4 on here: it is broken",
        "shard 1 of 4 on here: the disk is full",
        "1 of 4 shards are done and kept; the same command makes the others",
    ]
    assert {problem.code for problem in error.value.problems} == {"no-images"}
    assert warnings == ["a warning"]
    results, _, _ = outcomes(4)
    for index in range(3):
        assert not results.is_hopeless
        results.add(failed(index, "no such folder"))
    assert results.is_hopeless
    with pytest.raises(DataError, match=r"^each of 3 shards that were begun: no such folder$"):
        results.check()


def test_a_bug_is_raised_with_its_traceback() -> None:
    results, _, _ = outcomes(1)
    results.add(ShardOutcome(WorkShard(1, 0), bug="Traceback: ZeroDivisionError", host="here"))
    with pytest.raises(RuntimeError, match="shard 0 of 1 on here:\nTraceback: ZeroDivisionError"):
        results.check()


def test_of_shards_that_the_executor_numbers_none_must_be_empty(tmp_path: Path) -> None:
    batch = ShardBatch("embed", None, None, tmp_path / "x.npz", "", tmp_path, most=2)
    assert [batch.count_for(8), replace(batch, most=None).count_for(8)] == [2, 8]
    assert replace(batch, count=5).count_for(8) == 5


def test_the_bar_goes_back_where_a_shard_is_made_again() -> None:
    results, _, steps = outcomes(2)
    results.bar.show(0, 40)
    results.bar.show(0, 0)
    results.bar.show(1, 30)
    results.add(ShardOutcome(WorkShard(2, 0)))
    results.add(ShardOutcome(WorkShard(2, 1)))
    results.check()
    assert steps == [40, -40, 30, 100, 70]
    assert sum(steps) == 200
