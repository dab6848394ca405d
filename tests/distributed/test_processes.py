"""Several processes train as one does, save what any number can take up, and end together."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest

from eml.cli.app import main
from eml.cli.launching import _code as exit_code
from eml.cli.launching import launch, report_error_once
from eml.config import dump
from eml.dataset.table import Table
from eml.distributed.processes import SINGLE_PROCESS, Processes
from eml.distributed.sharded_network import is_available
from eml.errors import ConfigError
from eml.training.config import RunConfig
from eml.training.fit import fit
from eml.training.process_checks import check_processes, goes_by_rows
from tests.distributed import process_group
from tests.distributed.process_group import task
from tests.training.runs import assert_near, changed, draw, left_by, lines

SGD = {"name": "sgd", "lr": {"backbone": 0.05, "neck": 0.05, "class_weights": 0.5}, "clip": 1.0}


@pytest.fixture
def plain(config: RunConfig) -> RunConfig:
    """Nothing in it depends on how a batch is shared, 5 images are not shared evenly, a validation is 8 batches."""
    model = {**config.model.model_dump(), "batch_norm": "frozen", "neck": {"type": "identity"}}
    return changed(config, model=model, optimizer=SGD, batch_size=5, seed=3, validation={"batch_size": 4})


def eml(*arguments: object) -> subprocess.CompletedProcess[str]:
    given = [sys.executable, "-m", "eml", *map(str, arguments)]
    return subprocess.run(given, capture_output=True, text=True, timeout=150, check=False)


@pytest.mark.xdist_group("processes")
@pytest.mark.slow
def test_two_processes_train_as_one_and_tell_once(plain: RunConfig, table: Table, tmp_path: Path) -> None:
    fit(plain, table)
    file = tmp_path / "two.yaml"
    file.write_text(dump(changed(plain, output=tmp_path / "two")))
    first, second = process_group.run(2, [{"arguments": ["train", file]}], tmp_path)
    assert first[0] == 0, first[1]
    assert first[1].count("epoch   1") == 1
    assert "arning" not in first[1].replace("warning: No query changed", "")
    assert second == (0, "")
    compare_with_one(tmp_path / "two", plain)


def compare_with_one(folder: Path, plain: RunConfig) -> None:
    """Assert that the run of two processes is that of one."""
    assert_near(folder, plain.output)
    first = [(run / "metrics.jsonl").read_bytes().splitlines()[0] for run in (folder, plain.output)]
    assert first[0] == first[1], "of the same network a validation is the same to the last bit"
    facts = json.loads((folder / "run.json").read_text())
    assert (facts["processes"], facts["batch_per_process"]) == (2, 3)


@pytest.mark.wide
@pytest.mark.xdist_group("processes")
def test_devices_2_trains_as_one_process_and_tells_once(plain: RunConfig, table: Table, tmp_path: Path) -> None:
    fit(plain, table)
    file = tmp_path / "two.yaml"
    file.write_text(dump(changed(plain, output=tmp_path / "two")))
    done = eml("train", file, "--devices", 2, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["folder"] == str(tmp_path / "two")
    assert done.stderr.count("epoch   1") == 1
    assert "arning" not in done.stderr.replace("warning: No query changed", "")
    compare_with_one(tmp_path / "two", plain)


@pytest.mark.xdist_group("processes")
def test_the_launcher_runs_the_same_command_in_each_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("OMP_NUM_THREADS", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"):  # which it sets
        monkeypatch.setenv(name, "1")
    child = (
        "import os\nprint(os.environ['RANK'], os.environ['WORLD_SIZE'], sys.argv[1:])\nsys.exit(2 * int(sys.argv[2]))"
    )
    monkeypatch.setattr("eml.cli.launching._CHILD", child)
    for code in (0, 1):
        monkeypatch.setattr(sys, "argv", ["eml", "train", "--devices", "2", str(code)])
        with pytest.raises(SystemExit) if code else nullcontext() as end:
            launch(2)
        shown, expected = capfd.readouterr().out.splitlines(), {f"{rank} 2 ['train', '{code}']" for rank in (0, 1)}
        assert set(shown) <= expected if code else sorted(shown) == sorted(expected)  # the first that fails ends all
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler  # torch's launcher sets one of its own
    assert end.value.code == 2  # type: ignore[union-attr]


@pytest.mark.wide
@pytest.mark.xdist_group("processes")
def test_a_mistake_in_what_devices_2_is_to_do_is_told_once(plain: RunConfig, tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    file.write_text(dump(plain))
    wrong = eml("train", file, "--devices=2", "--set", "batch_size=many")
    assert wrong.returncode == 2
    assert wrong.stderr.splitlines() == ["--set batch_size=many: batch_size must be a whole number, got 'many'."]


@pytest.mark.parametrize("rank", [0, 1])
def test_the_first_process_tells_a_mistake_and_the_others_wait_for_their_end(
    rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended_by_the_launcher(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", ended_by_the_launcher)
    monkeypatch.setenv("LOCAL_RANK", str(rank))
    with pytest.raises(SystemExit if rank else ConfigError) as end, report_error_once():
        raise ConfigError("batch_size must be a whole number")
    assert not rank or end.value.code == 2  # type: ignore[attr-defined]
    assert exit_code([2, 2]) == exit_code([2, 130]) == 2
    assert exit_code([130, 130]) == 130
    assert exit_code([2, 70]) == 70


@pytest.mark.wide
@pytest.mark.xdist_group("processes")
@pytest.mark.slow
def test_two_processes_choose_among_stages_and_refit_as_one_does(
    staged: RunConfig, open_table: Table, tmp_path: Path
) -> None:
    model = {**staged.model.model_dump(), "batch_norm": "frozen", "neck": {"type": "identity"}}
    one = changed(staged, model=model, optimizer=SGD, head={"scale": 16, "init": "means"}, minutes=0.001)
    fit(one, open_table)
    two = changed(one, output=tmp_path / "two")
    assert process_group.run(2, [task(two, open_table)], tmp_path) == [(0, ""), (0, "")]
    mine, theirs = (json.loads((run.output / "run.json").read_text())["stages"] for run in (one, two))
    assert mine["untouched"] == theirs["untouched"], "of the same network it is the same to the last bit"
    assert [step["tried"].keys() for step in mine["steps"]] == [step["tried"].keys() for step in theirs["steps"]]
    for own, other in zip(mine["steps"], theirs["steps"], strict=True):
        assert own["value"] == pytest.approx(other["value"], abs=0.02), own["name"]
    assert mine["judging"] == theirs["judging"]


@pytest.mark.xdist_group("processes")
@pytest.mark.wide
def test_runs_of_two_and_four_processes_and_what_other_numbers_make_of_their_state(
    plain: RunConfig, table: Table, tmp_path: Path
) -> None:
    neck = {**plain.model.model_dump(), "batch_norm": "train", "neck": {"type": "linear", "size": 16, "dropout": 0.5}}
    adam = {"name": "adamw", "clip": 1.0}
    memory = {"margin": {"type": "vpl", "memory": {"start": 2}}, "optimizer": adam, "model": neck, "ema": {}}
    sampled = {"mode": {"type": "sampled", "fraction": 0.6}, "scale": 16}
    per_class = {"sampler": {"type": "per_class", "per_class": 2}, "batch_size": 6}
    mix = {"type": "mixup_or_cutmix", "chance": 0.7, "share": "image"}
    runs = {
        "dropout": changed(plain, **memory),
        "mixed": changed(plain, **per_class, mix=mix, head=sampled),
        "parts": changed(plain, accumulate=2, head=sampled),
        "whole": plain,
    }
    runs = {name: changed(each, output=tmp_path / name) for name, each in runs.items()}
    stopped = {name: changed(each, output=tmp_path / f"{name} stopped") for name, each in runs.items()}
    of_four = {"whole": stopped.pop("whole"), "parts": changed(plain, head=sampled, output=tmp_path / "sampled")}

    def copied(config: RunConfig, by: str) -> RunConfig:
        return changed(config, output=shutil.copytree(config.output, f"{config.output} by {by}"))

    tasks = [task(each, table, stop=3) for each in of_four.values()]
    assert process_group.run(4, tasks, tmp_path) == [(0, "")] * 4
    by_two, by_three = ({name: copied(each, by) for name, each in of_four.items()} for by in ("two", "three"))
    tasks = [
        *(task(each, table) for each in runs.values()),
        *(task(each, table, stop=3) for each in stopped.values()),
        *(task(stopped[name], table, resume=True) for name in ("dropout", "mixed")),
        *(task(each, table, resume=True) for each in by_two.values()),
    ]
    assert process_group.run(2, tasks, tmp_path) == [(0, ""), (0, "")]
    for name in ("dropout", "mixed"):
        assert left_by(stopped[name].output) == left_by(runs[name].output), "the same to the last bit"
    assert [line["step"] for line in lines(runs["mixed"].output)] == list(
        range(1, len(lines(runs["mixed"].output)) + 1)
    )
    if is_available():
        by_three["whole"] = changed(by_three["whole"], shard_network=True)
    of_two_by_three = copied(stopped["parts"], "three")
    tasks = [task(each, table, resume=True) for each in (*by_three.values(), of_two_by_three)]
    assert process_group.run(3, tasks, tmp_path) == [(0, "")] * 3
    for each in (*of_four.values(), stopped["parts"]):
        fit(each, table, resume=True)
    assert_near(stopped["parts"].output, runs["parts"].output)
    assert_near(of_two_by_three.output, runs["parts"].output)
    for went_on in (of_four, by_two, by_three):
        for name, each in went_on.items():
            assert_near(each.output, runs[name].output)
    changes = [json.loads((each["whole"].output / "run.json").read_text())["changes"] for each in (by_two, of_four)]
    assert changes == [[{"step": 3, "changes": [f"processes: 4 → {number}"]}] for number in (2, 1)]
    alone = changed(runs["parts"], output=tmp_path / "parts alone")
    fit(alone, table)
    assert_near(runs["parts"].output, alone.output)


@pytest.mark.xdist_group("processes")
@pytest.mark.wide
def test_an_evaluation_by_three_processes_is_that_of_one_and_tells_once(tmp_path: Path) -> None:
    images = tmp_path / "images"
    draw(images, 5, 6)
    arguments = ["evaluate", "timm:test_resnet", "--weights", "none", "--image-size", 32, "--device", "cpu"]
    arguments += ["--batch-size", 4, "--save-embeddings", "--data", images, "--out"]
    first, *others = process_group.run(3, [{"arguments": [*arguments, tmp_path / "three"]}], tmp_path)
    assert first[0] == 0, first[1]
    assert first[1].count("no table in") == 1, "scanned once"
    assert first[1].count("wrote ") == 3, "metrics.json, report.html and embeddings.npz, by one"
    assert others == [(0, ""), (0, "")]
    assert main([*map(str, arguments), str(tmp_path / "one")]) == 0
    three, one = (tmp_path / made / "dataset_info" for made in ("three", "one"))
    assert (three / "metrics.json").read_bytes() == (one / "metrics.json").read_bytes()
    with np.load(three / "embeddings.npz") as these, np.load(one / "embeddings.npz") as those:
        assert these["embeddings"].tobytes() == those["embeddings"].tobytes()
    (images / "c1" / "0.png").write_bytes(b"broken")  # of the second process
    arguments[-2] = images / "dataset_info.csv"
    ends = process_group.run(3, [{"arguments": [*arguments, tmp_path / "broken"]}], tmp_path)
    assert [code for code, _ in ends] == [2, 2, 2]
    assert [text.count("c1/0.png: its bytes are of no known image format") for _, text in ends] == [0, 1, 0]
    assert not any("Traceback" in text for _, text in ends)
    assert not (tmp_path / "broken").exists()


@pytest.mark.xdist_group("processes")
@pytest.mark.wide
def test_when_a_process_is_killed_the_others_end_and_a_resumed_run_is_exact(
    plain: RunConfig, table: Table, tmp_path: Path
) -> None:
    saving = {"steps": 2}
    whole, killed = (changed(plain, output=tmp_path / name, saving=saving) for name in ("whole", "killed"))
    file = tmp_path / "killed.yaml"
    file.write_text(dump(killed))
    started = time.monotonic()
    ends = process_group.run(2, [{"struck": [1, 4, signal.SIGKILL], "arguments": ["train", file]}], tmp_path)
    assert time.monotonic() - started < 60
    assert ends[1][0] == -9
    assert ends[0][0] == 2
    assert "another process of this run has ended" in ends[0][1]
    assert f"of step 2. Resume with: eml train {killed.output / 'config.yaml'} --resume" in ends[0][1]
    assert "Traceback" not in ends[0][1]
    tasks = [task(each, table, resume=each is killed) for each in (whole, killed)]
    assert process_group.run(2, tasks, tmp_path) == [(0, ""), (0, "")]
    assert left_by(killed.output) == left_by(whole.output)


@pytest.mark.xdist_group("processes")
@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="the others end by themselves alone")
@pytest.mark.parametrize(
    "rank",
    [pytest.param(0, id="which the others meet at"), pytest.param(1, id="another", marks=pytest.mark.wide)],
)
def test_when_a_process_is_frozen_the_other_processes_end_it_and_themselves(
    plain: RunConfig, table: Table, tmp_path: Path, rank: int
) -> None:
    file = tmp_path / "frozen.yaml"
    file.write_text(dump(plain))
    started = time.monotonic()
    ends = process_group.run(2, [{"struck": [rank, 2, signal.SIGSTOP], "arguments": ["train", file]}], tmp_path)
    assert time.monotonic() - started < 60
    assert ends[rank][0] == -9
    assert ends[1 - rank][0] == 2
    assert "another process of this run has ended or is stuck" in ends[1 - rank][1]
    assert f"Resume with: eml train {plain.output / 'config.yaml'} --resume" in ends[1 - rank][1]


def test_settings_that_several_processes_cannot_use_are_reported_before_anything_is_read(plain: RunConfig) -> None:
    wrong = changed(
        plain,
        precision="float16",
        accumulate=3,
        optimizer={**SGD, "name": "lamb"},
        model={**plain.model.model_dump(), "batch_norm": "synced"},
        device="cpu",
    )
    with pytest.raises(ConfigError) as error:
        check_processes(wrong, Processes(0, 4))
    told = error.value.problems
    assert [line.partition(":")[0].split()[0] for line in told] == [
        "precision", "model.batch_norm", "batch_size", "optimizer.name",
    ]  # fmt: skip
    check_processes(changed(wrong, precision="float32"), Processes())


def test_optimizers_that_treat_rows_apart_are_recognised() -> None:
    names = ("sgd", "adamw", "lion", "rmsprop", "lamb", "lars", "adafactor", "muon")
    assert [name for name in names if goes_by_rows(name)] == ["sgd", "adamw", "lion", "rmsprop"]


def test_processes_are_immutable_and_a_single_one_has_no_state_at_all() -> None:
    with pytest.raises(FrozenInstanceError):
        SINGLE_PROCESS.rank = 1  # type: ignore[misc]
    SINGLE_PROCESS.set_resume_hint("resume it")
    assert SINGLE_PROCESS.meeting is None
    assert Processes() == SINGLE_PROCESS
    assert not SINGLE_PROCESS.has_met
    assert not SINGLE_PROCESS.is_error_reported
    several = Processes(1, 2)
    several.set_resume_hint("resume it")
    assert str(several.lost()).endswith("so process 1 of 2 ends too; resume it")
    assert Processes(0, 2).meeting is not several.meeting


def test_one_process_where_a_launcher_was_to_start_several_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    assert Processes.of_environment().world == 1
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    with pytest.raises(ConfigError, match="OMPI_COMM_WORLD_SIZE is 4 and WORLD_SIZE is not set"):
        Processes.of_environment()
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    with pytest.raises(ConfigError, match="add --multi_gpu"):
        Processes.of_environment()


def test_an_environment_that_no_launcher_sets_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"RANK=''.*unset WORLD_SIZE"):
        Processes.of_environment()
    monkeypatch.setenv("RANK", "2")
    with pytest.raises(ConfigError, match="RANK=2 of WORLD_SIZE=2"):
        Processes.of_environment()
    monkeypatch.setenv("RANK", "1")
    found = Processes.of_environment()
    assert (found.rank, found.world, found.local_rank, found.local_world) == (1, 2, 0, 1)
