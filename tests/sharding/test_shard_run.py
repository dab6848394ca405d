"""A shard made by a process that knows nothing of it: what it brings along, and what it tells."""

import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from eml import threads
from eml.commands.scan import ScanConfig
from eml.config.plugins import forget_plugins, load_plugins
from eml.errors import Interrupted
from eml.losses.base import Loss
from eml.sharding import kept_model, shard_run
from eml.sharding.folder import ShardFolder
from eml.sharding.shard import WorkShard
from eml.sharding.shard_run import ShardRun, make_shard

PLUGIN = """
from typing import Literal
from eml.losses.base import Loss

class Mine(Loss):
    type: Literal["mine_of_a_plugin"] = "mine_of_a_plugin"
    def per_sample(self, logits, targets):
        return logits.sum(1)
"""


@pytest.fixture
def run(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ShardRun:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(threads, "_limit", None)
    monkeypatch.setattr(kept_model, "_is_kept", False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    config = ScanConfig(dataset=Path("photos"), out=Path("t.csv"))
    return ShardRun.of("scan", config, WorkShard(1, 0), tmp_path, [Path("photos")], 1)


def test_relative_paths_are_those_of_the_folder_and_progress_is_in_hundredths(
    run: ShardRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(shard_run, "TELL_EVERY", -1.0)
    percents = list[int]()
    outcome = make_shard(pickle.loads(pickle.dumps(run)), percents.append)
    assert (outcome.problems, outcome.bug) == ((), "")
    assert ShardFolder.of(tmp_path / "t.csv").read(WorkShard(1, 0)) is not None
    assert percents == sorted(percents)
    assert percents[-1] == 99, "a hundred is for the one who has seen the shard"
    assert threads.cores() == 1


def test_a_machine_that_lacks_the_images_or_has_another_eml_is_named(run: ShardRun) -> None:
    lacking = replace(run, paths=[Path("photos"), Path("/gone/table.csv")])
    (problem,) = make_shard(lacking, lambda percent: None).problems
    host = os.uname().nodename
    assert (
        problem == f"/gone/table.csv: is not on {host}; all machines need it at the same path, such as on a shared disk"
    )
    assert problem.code == "other-machine"
    (problem,) = make_shard(replace(run, version="9"), lambda percent: None).problems
    assert problem.startswith(f"{host} has eml ")
    assert "and this is 9; install the same version on all machines" in problem


def test_what_the_user_can_mend_and_a_bug_are_told_apart(run: ShardRun) -> None:
    wrong = replace(run, config=run.config.model_copy(update={"dataset": Path("gone")}))
    outcome = make_shard(wrong, lambda percent: None)
    assert [problem.code for problem in outcome.problems] == ["missing-folder"]
    outcome = make_shard(replace(run, config=None), lambda percent: None)
    assert not outcome.problems
    assert "AttributeError" in outcome.bug


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, Interrupted])
def test_an_interruption_is_no_outcome(
    run: ShardRun, monkeypatch: pytest.MonkeyPatch, interruption: type[BaseException]
) -> None:
    def interrupted(name: str) -> None:
        raise interruption

    monkeypatch.setattr(shard_run, "job_of", interrupted)
    with pytest.raises(interruption):
        make_shard(run, lambda percent: None)


@pytest.mark.usefixtures("plugins_forgotten")
def test_plugins_reach_a_process_that_never_saw_their_files(
    run: ShardRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    load_plugins(tmp_path / "mine.py")
    sent = pickle.dumps(ShardRun.of("scan", run.config, run.shard, run.folder, run.paths, 1))
    (tmp_path / "mine.py").unlink()
    forget_plugins()
    monkeypatch.setattr(shard_run, "_unpickled", set())
    assert "mine_of_a_plugin" not in Loss.members()
    assert not make_shard(pickle.loads(sent), lambda percent: None).problems
    member = Loss.members()["mine_of_a_plugin"]
    assert not make_shard(pickle.loads(sent), lambda percent: None).problems
    assert Loss.members()["mine_of_a_plugin"] is member, "imported once"
