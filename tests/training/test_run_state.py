"""A resumed run equals an uninterrupted one, byte for byte."""

import json
import os
import shlex
import signal
from pathlib import Path

import pytest
import torch

from eml.cli.app import main
from eml.config import dump, load
from eml.dataset.table import Table, read_table, write_table
from eml.errors import CheckpointError, OutputError
from eml.models.checkpoint import load_checkpoint
from eml.training.build import build_networks
from eml.training.config import RunConfig
from eml.training.config_changes import config_changes, decisive_settings
from eml.training.data import training_data
from eml.training.events import Event, Note, Started, Stepped, Validating
from eml.training.fit import fit
from eml.training.run_folder import RunFolder
from tests.distributed.process_group import preloaded_context
from tests.training.runs import changed, left_by, lines, stop_at

pytestmark = pytest.mark.slow

PAIRS = {"type": "per_class", "per_class": 2}


def test_interrupted_and_resumed_runs_equal_an_uninterrupted_one_byte_for_byte(
    config: RunConfig, table: Table, tmp_path: Path
) -> None:
    fit(config, table)
    expected = left_by(config.output)
    assert "checkpoints/epoch-002/model.safetensors" in expected
    for place, when in {"first": 1, "epoch end": 5, "middle": 7, "validation": Validating(30, 30)}.items():
        other = changed(config, output=tmp_path / place)
        stop_at(other, table, when)
        events: list[Event] = []
        fit(other, table, resume=True, observe=events.append)
        assert left_by(other.output) == expected, place
        (started,) = [event for event in events if isinstance(event, Started)]
        done = lines(other.output)[: started.first_step]
        assert started.loss == (done[-1]["loss"] if done else None), place


@pytest.mark.parametrize(
    "margin", [pytest.param("elastic_arcface", marks=pytest.mark.wide), "curricularface", "vpl", "sphereface2"]
)
def test_a_resumed_run_restores_the_state_and_draws_of_a_margin(
    margin: str, config: RunConfig, table: Table, tmp_path: Path
) -> None:
    settings = {"memory": {"start": 2}} if margin == "vpl" else {}
    schedule = {"margin_schedule": {"shape": "cosine"}, "scale": 16}
    changes = {"margin": {"type": margin, **settings}, "head": schedule, "epochs": 1, "validation": {"batch_size": 64}}
    whole = changed(config, **changes)
    fit(whole, table)
    other = changed(config, **changes, output=tmp_path / "other")
    stop_at(other, table, 3)
    fit(other, table, resume=True)
    assert left_by(other.output) == left_by(whole.output)


def test_resuming_with_another_config_says_what_differs(config: RunConfig, table: Table) -> None:
    stop_at(config, table, 3)
    other = changed(config, batch_size=5, margin={"type": "arcface", "m": 0.3})
    with pytest.raises(CheckpointError, match=r"(?s)batch_size: 4 → 5.*margin\.m: 0\.5 → 0\.3.*`accept_changes`"):
        fit(other, table, resume=True)
    fit(other, table, resume=True, accept_changes=True)
    assert json.loads((config.output / "run.json").read_text())["changes"] == [
        {"step": 3, "changes": ["batch_size: 4 → 5", "margin.m: 0.5 → 0.3"]}
    ]
    assert load(RunConfig, config.output / "config.yaml").batch_size == 5


def test_changes_that_the_state_does_not_fit_are_refused_at_once(config: RunConfig, table: Table) -> None:
    stop_at(config, table, 3)
    other = changed(config, model=config.model.model_dump() | {"neck": {"type": "linear", "size": 8}})
    for accept_changes in (False, True):
        with pytest.raises(CheckpointError) as error:
            fit(other, table, resume=True, accept_changes=accept_changes)
        assert (error.value.code, error.value.parameter) == ("state-does-not-fit", "resume")
        assert "accept_changes" not in str(error.value)
        assert f"with model.weights: {config.output} it starts from this one's weights" in str(error.value)


@pytest.mark.wide
def test_a_run_whose_table_has_new_classes_names_the_command_that_starts_from_its_weights(
    config: RunConfig, table: Table, tmp_path: Path
) -> None:
    run = tmp_path / "my run"
    auto = changed(config, recipe="auto", output=run, epochs=3)
    fewer = write_table(
        table.frame[table.frame["label"] != "c4"], tmp_path / "my folds.csv", command="test", root=table.root
    )
    stop_at(auto, fewer, 2)
    more = write_table(table.frame, tmp_path / "my folds.csv", command="test", root=table.root)
    for accept_changes in (False, True):
        with pytest.raises(CheckpointError) as error:
            fit(auto, more, resume=True, accept_changes=accept_changes)
        assert error.value.code == "table-changed"
        told, _, command = str(error.value).partition(" or begin a new run: ")
        assert "(16 images of 4 classes to train on then, 20 of 5 now)" in told
        assert "accept" not in str(error.value)
    words = ["--set", f"output={run}-2", "--set", f"data.table={more.path}"]
    assert shlex.split(command) == ["eml", "train", f"{run}/config.yaml", *words], "there is no checkpoint yet"
    with pytest.raises(CheckpointError):
        fit(auto, more, resume=True)
    fit(auto, write_table(fewer.frame, tmp_path / "my folds.csv", command="test", root=table.root), resume=True)
    write_table(table.frame, tmp_path / "my folds.csv", command="test", root=table.root)
    with pytest.raises(CheckpointError) as refused:
        fit(auto, more, resume=True)
    command = str(refused.value).partition(" or begin a new run from its weights: ")[2]
    assert main([*shlex.split(command)[1:], "--epochs", "1"]) == 0
    started = load(RunConfig, tmp_path / "my run-2" / "config.yaml")
    assert (started.model.weights, started.data.table) == (run, more.path)


def test_a_setting_that_an_earlier_version_did_not_have_is_compared_with_what_it_did(config: RunConfig) -> None:
    before = decisive_settings(config)
    del before["image.background"], before["image.resize"], before["image.fit"], before["optimizer.lr"]["text"]
    assert config_changes(before, config) == [
        "  image.background: white → contrast",
        "  image.resize: pillow → torch",
    ]
    as_before = {"background": "white", "resize": "pillow"}
    white = config.model_copy(update={"image": config.image.model_copy(update=as_before)})
    assert config_changes(before, white) == []


def test_a_full_disk_stops_the_run_with_a_message_and_leaves_the_last_state_whole(
    config: RunConfig, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")  # not on Windows
    stop_at(config, table, 3)
    before = (config.output / "state.pt").read_bytes()
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a file that grows past the limit is then an OSError
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"state\.pt: cannot be written: .*is the disk full\?"):
            fit(config, table, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert (config.output / "state.pt").read_bytes() == before
    fit(config, table, resume=True)


DROPOUT = {"type": "linear", "size": 16, "dropout": 0.5}


@pytest.mark.parametrize("neck", [pytest.param(DROPOUT, marks=pytest.mark.wide), {"type": "projection"}])
def test_a_resumed_run_equals_an_uninterrupted_one_with_dropout_and_from_an_identity(
    neck: dict[str, object], config: RunConfig, table: Table, tmp_path: Path
) -> None:
    model = {**config.model.model_dump(), "neck": neck}
    config = changed(config, model=model, epochs=1)
    fit(config, table)
    other = changed(config, output=tmp_path / "stopped")
    stop_at(other, table, 3)
    fit(other, table, resume=True)
    assert left_by(other.output) == left_by(config.output)


@pytest.mark.wide
def test_a_run_with_adapters_resumes_to_the_bit_and_saves_a_plain_network(
    config: RunConfig, table: Table, tmp_path: Path
) -> None:
    model = {**config.model.model_dump(), "backbone": "test_vit", "gradient_checkpointing": True}
    tune = {"type": "lora", "layers": ["attn"], "dropout": 0.3}
    parts = {"accumulate": 2, "precision": "bfloat16", "validation": {"batch_size": 64}}
    whole = changed(config, model=model, tune=tune, ema={}, **parts, epochs=1)
    fit(whole, table)
    other = changed(whole, output=tmp_path / "stopped")
    stop_at(other, table, 3)
    fit(other, table, resume=True)
    assert left_by(other.output) == left_by(whole.output)
    facts = json.loads((whole.output / "run.json").read_text())
    assert 0 < facts["trained_parameters"] < facts["parameters"] / 5
    stored = load_checkpoint(whole.output).embedder.state_dict()
    plain = build_networks(changed(whole, tune="full"), training_data(table, 0), torch.device("cpu")).embedder
    same = {name for name, tensor in plain.state_dict().items() if torch.equal(stored[name], tensor)}
    assert stored.keys() - same == {
        name for name in stored if name.startswith("neck.") or (".attn." in name and name.endswith("weight"))
    }


def test_a_mixed_run_stopped_and_resumed_equals_an_uninterrupted_one_byte_for_byte(
    config: RunConfig, table: Table, tmp_path: Path
) -> None:
    """With what else draws: dropout, a margin, and a sampler."""
    model = {**config.model.model_dump(), "neck": DROPOUT}
    mix = {"type": "mixup_or_cutmix", "chance": 0.8, "until": 0.9, "share": "image"}
    whole = changed(config, model=model, margin={"type": "elastic_arcface"}, mix=mix, sampler=PAIRS, epochs=1)
    fit(whole, table)
    other = changed(whole, output=tmp_path / "stopped")
    stop_at(other, table, 3)
    fit(other, table, resume=True)
    assert left_by(other.output) == left_by(whole.output)
    assert left_by(other.output)["steps.jsonl"] != b""


@pytest.mark.parametrize(
    "sampler",
    [
        pytest.param(PAIRS, id="per_class", marks=pytest.mark.wide),
        pytest.param({"type": "balanced", "images": 18}, marks=pytest.mark.wide),
    ],
)
def test_a_run_stopped_and_resumed_equals_an_uninterrupted_one(
    sampler: dict[str, object], config: RunConfig, table: Table, tmp_path: Path
) -> None:
    whole = changed(config, sampler=sampler)
    fit(whole, table)
    stopped = changed(whole, output=tmp_path / "stopped", data={"table": table.path, "workers": 1})
    stop_at(stopped, table, 6)
    fit(stopped, table, resume=True)
    assert left_by(stopped.output) == left_by(whole.output)


@pytest.mark.wide
def test_a_running_mean_of_the_weights_is_what_is_saved_and_survives_a_stop(
    config: RunConfig, table: Table, tmp_path: Path
) -> None:
    mean = changed(config, ema={"decay": 0.9})
    fit(mean, table)
    fit(changed(config, output=tmp_path / "plain"), table)
    saved = (load_checkpoint(folder).embedder.state_dict() for folder in (mean.output, tmp_path / "plain"))
    assert not all(torch.equal(one, other) for one, other in zip(*(each.values() for each in saved), strict=True))
    other = changed(mean, output=tmp_path / "stopped")
    stop_at(other, table, 7)
    fit(other, table, resume=True)
    assert left_by(other.output) == left_by(mean.output)


def fit_until_killed(file: Path) -> None:
    """Train by the config in the file until the state after step 4 is half saved."""

    def half(folder: RunFolder, state: object) -> None:
        folder.state.with_name(".eml-tmp-half-state.pt").write_bytes(b"PK")
        os.kill(os.getpid(), signal.SIGKILL)

    def observe(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == 4:
            RunFolder.save_state = half  # type: ignore[method-assign, assignment]

    config: RunConfig = load(RunConfig, file)
    fit(config, read_table(config.data.table), observe=observe)


@pytest.mark.xdist_group("processes")
def test_a_run_killed_while_it_saves_resumes_to_the_same_bytes(config: RunConfig, table: Table, tmp_path: Path) -> None:
    settings = {"epochs": 1, "saving": {"steps": 1}, "margin": {"type": "elastic_arcface"}, "ema": {"decay": 0.9}}
    whole = changed(config, **settings)
    fit(whole, table)
    other = changed(whole, output=tmp_path / "killed")
    (tmp_path / "config.yaml").write_text(dump(other))
    process = preloaded_context().Process(target=fit_until_killed, args=(tmp_path / "config.yaml",))
    process.start()
    process.join(150)
    assert process.exitcode == -signal.SIGKILL
    assert len((other.output / "steps.jsonl").read_text().splitlines()) == 4, "the log is ahead of the state"
    fit(other, table, resume=True)
    assert left_by(other.output) == left_by(whole.output)
    assert not list(other.output.rglob(".eml-tmp-*"))


def test_a_damaged_state_falls_back_to_the_one_before_and_says_so(
    config: RunConfig, table: Table, tmp_path: Path
) -> None:
    fit(config, table)
    other = changed(config, output=tmp_path / "other", saving={"steps": 2})
    stop_at(other, table, 3)
    state = other.output / "state.pt"
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1  # one bit
    state.write_bytes(content)
    told: list[str] = []
    fit(other, table, resume=True, observe=lambda event: told.append(event.text) if isinstance(event, Note) else None)
    assert any("state.pt: damaged" in line and "resuming from state.previous.pt" in line for line in told)
    assert "resumed at step 2 of 10" in told
    assert left_by(other.output) == left_by(config.output)
    for name in ("state.pt", "state.previous.pt"):
        (other.output / name).write_bytes(b"no")
    with pytest.raises(CheckpointError, match=r"(?s)state\.pt: damaged.*state\.previous\.pt: damaged"):
        fit(other, table, resume=True)
