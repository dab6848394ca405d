"""Accumulation, precision, running mean, saving, early stopping, several checkpoints, several tables."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from eml.config import dump
from eml.dataset.table import Table, write_table
from eml.errors import CheckpointError, ConfigError
from eml.margins import Margin
from eml.models.checkpoint import load_checkpoint
from eml.models.pointers import find_checkpoint
from eml.training.build import build_parts
from eml.training.config import RunConfig
from eml.training.cross_validation import fit_folds
from eml.training.dry_run import dry_run
from eml.training.events import Event, Note, Validated
from eml.training.fit import Run, fit
from eml.training.optimizer import learning_rate_factor
from eml.training.verdict import verdict
from tests.training.runs import changed, left_by, stop_at


def quiet(event: Event) -> None:
    pass


@pytest.mark.parametrize(
    "margin", ["arcface", "curricularface", "adaface", "elastic_arcface", "proxy_anchor", "adacos"]
)
def test_a_batch_in_parts_steps_as_one_whatever_the_margin_looks_at(
    margin: str, config: RunConfig, table: Table
) -> None:
    """With plain SGD: Adam steps by its full rate along rounding, such as the gradient of an attention's key bias."""
    model = {"backbone": "test_vit", "weights": "none", "neck": {"type": "identity"}}
    settings = {"model": model, "margin": {"type": margin}, "batch_size": 16, "head": {}}
    settings["optimizer"] = {"name": "sgd", "lr": {"backbone": 0.1, "class_weights": 0.1}}
    whole, parts = (Run(build_parts(changed(config, **settings, accumulate=count), table)) for count in (1, 4))
    assert Margin.members()[margin]
    for run in (whole, parts):
        for pixels, rows in run.batches.of_epoch(1, 0):
            line = run.step(pixels, rows)
    assert line["gradient_norm"] > 0
    for (name, one), other in zip(whole.embedder.named_parameters(), parts.embedder.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, msg=name)
    torch.testing.assert_close(whole.head.class_weights, parts.head.class_weights, rtol=1e-4, atol=1e-5)


def test_the_second_pass_over_the_parts_draws_the_same_dropout_and_moves_statistics_once(
    config: RunConfig, table: Table
) -> None:
    model = {"backbone": "test_resnet", "weights": "none", "neck": {"type": "linear", "size": 16, "dropout": 0.5}}
    run = Run(build_parts(changed(config, model=model, batch_size=16, accumulate=4), table))
    run.parts.embedder.train()
    images = torch.randn(16, 3, 32, 32)
    first = run.embedding.forward(images)
    again = torch.cat([redo() for redo in run.embedding._redo])
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    counts = [value for name, value in run.parts.embedder.state_dict().items() if name.endswith("num_batches_tracked")]
    assert {int(count) for count in counts} == {4}


def test_bfloat16_trains_and_keeps_the_head_in_float32(config: RunConfig, table: Table) -> None:
    losses: dict[str, list[float]] = {}
    for precision in ("float32", "bfloat16"):
        run = Run(build_parts(changed(config, precision=precision), table))
        losses[precision] = [run.step(pixels, rows)["loss"] for pixels, rows in run.batches.of_epoch(1, 0)]
    assert losses["float32"] != losses["bfloat16"]
    np.testing.assert_allclose(losses["bfloat16"], losses["float32"], rtol=0.1)


def test_float16_scales_its_gradient_and_saves_the_scale(config: RunConfig, table: Table) -> None:
    half = changed(config, precision="float16", optimizer={"clip": 1.0})
    run = Run(build_parts(half, table))
    lines = [run.step(pixels, rows) for epoch in range(1, 5) for pixels, rows in run.batches.of_epoch(epoch, 0)]
    norms = [line["gradient_norm"] for line in lines if line["gradient_norm"] is not None]  # None: it overflowed
    assert norms
    assert max(norms) < 1e4, "unscaled before it is measured"
    stop_at(half, table, 3)
    fit(half, table, resume=True)


def test_a_gradient_that_overflows_in_float16_moves_nothing_sampled_class_weights_included(
    config: RunConfig, table: Table
) -> None:
    sampled = {"scale": 16, "mode": {"type": "sampled", "fraction": 0.8}}
    run = Run(build_parts(changed(config, precision="float16", head=sampled), table))
    before = run.parts.head.class_weights.clone()
    line = run.step(*next(run.batches.of_epoch(1, 0)))  # at the first scale, 65,536, it overflows
    assert line["gradient_norm"] is None
    assert torch.equal(run.parts.head.class_weights, before)
    assert run.parts.head.sampled_rows() == []


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


KILLED = """
import os, signal, sys
from pathlib import Path
from eml.config import load
from eml.dataset.table import read_table
from eml.training.config import RunConfig
from eml.training.events import Stepped, Validating
from eml.training.fit import fit
from eml.training.run_folder import RunFolder

def observe(event):
    if isinstance(event, Stepped) and event.step == 4:
        save = RunFolder.save_state
        def half(self, state):
            self.state.with_name(".eml-tmp-half-state.pt").write_bytes(b"PK")
            os.kill(os.getpid(), signal.SIGKILL)
        RunFolder.save_state = half

config = load(RunConfig, Path(sys.argv[1]))
fit(config, read_table(config.data.table), observe=observe)
"""


def test_a_run_killed_while_it_saves_resumes_to_the_same_bytes(config: RunConfig, table: Table, tmp_path: Path) -> None:
    settings = {"saving": {"steps": 1}, "margin": {"type": "elastic_arcface"}, "ema": {"decay": 0.9}}
    whole = changed(config, **settings)
    fit(whole, table)
    other = changed(whole, output=tmp_path / "killed")
    (tmp_path / "config.yaml").write_text(dump(other))
    command = [sys.executable, "-c", KILLED, str(tmp_path / "config.yaml")]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
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


def test_training_ends_when_patience_does(config: RunConfig, table: Table, tmp_path: Path) -> None:
    still = {"optimizer": {"lr": {"backbone": 0, "neck": 0, "class_weights": 1e-3}}, "epochs": 6}
    patient = changed(config, **still, validation={"patience": 2})
    result = fit(patient, table)
    assert result.best_epoch == 1, "a frozen network is never better than in its first epoch"
    epochs = [json.loads(line)["epoch"] for line in (patient.output / "metrics.jsonl").read_text().splitlines()]
    assert epochs == [0, 1, 2, 3]
    assert fit(patient, table, resume=True).best_epoch == 1, "and it stays ended"
    assert result.verdict is not None
    assert not result.verdict.helped
    assert "Training did not help" in result.verdict.lines()[1]


def test_the_best_checkpoints_of_any_table_are_kept(config: RunConfig, table: Table, tmp_path: Path) -> None:
    others = table.frame.drop(columns="fold").groupby("label").tail(3)
    path = write_table(others, tmp_path / "others.csv", command="test", root=table.root).path
    validation = {"tables": {"others": path}, "metric": "others/map_at_r", "keep": 3}
    events: list[Validated] = []
    several = changed(config, epochs=5, validation=validation)
    result = fit(several, table, observe=lambda event: events.append(event) if isinstance(event, Validated) else None)
    assert {"map_at_r", "others/map_at_r"} <= events[0].values.keys()
    assert events[0].shown["others/recall_at_1"] == "others R@1"
    values = {event.epoch: event.values["others/map_at_r"] for event in events if event.epoch}
    ranked = sorted(values, key=lambda epoch: (-values[epoch], epoch))
    assert result.best_epoch == ranked[0]
    kept = {folder.name for folder in (several.output / "checkpoints").glob("epoch-*")}
    assert kept == {f"epoch-{epoch:03d}" for epoch in {*ranked[:3], 5}}
    assert find_checkpoint(several.output).name == f"epoch-{ranked[0]:03d}"
    with pytest.raises(ConfigError, match=r"known: recall_at_1.*others/recall_at_1"):
        Run(build_parts(changed(several, validation={**validation, "metric": "other/map_at_r"}), table))
    alone = changed(several, data={"table": table.path, "fold": None}, output=tmp_path / "alone", epochs=1)
    assert fit(alone, table).best is not None


def test_every_fold_in_one_command_leaves_an_embedding_of_every_image_by_a_network_that_has_not_seen_it(
    config: RunConfig, table: Table
) -> None:
    short = changed(config, epochs=1)
    seen: list[bool] = []
    done = fit_folds(short, table, observe=lambda event: seen.append((short.output / "folds.json").is_file()))
    assert all(seen), "from the start: by it a scan knows that the folder is no class"
    facts = json.loads((short.output / "folds.json").read_text())
    values = [facts["folds"][str(fold)]["best"]["map_at_r"] for fold in range(3)]
    assert facts["metrics"]["map_at_r"]["mean"] == pytest.approx(np.mean(values))
    assert facts["metrics"]["map_at_r"]["std"] == pytest.approx(np.std(values, ddof=1))
    found = np.load(short.output / "out_of_fold.npz")
    assert sorted(found["file_name"]) == sorted(table.frame["file_name"])
    assert found["embeddings"].shape == (30, 16)
    before = {fold: (result.folder / "state.pt").stat().st_mtime_ns for fold, result in done.folds.items()}
    shutil.rmtree(done.folds[2].folder)
    again = fit_folds(short, table, resume=True)
    assert again.metrics == done.metrics
    assert {fold: (again.folds[fold].folder / "state.pt").stat().st_mtime_ns for fold in (0, 1)} == {
        fold: before[fold] for fold in (0, 1)
    }, "what was done is not touched"


def test_schedules_by_hand(config: RunConfig) -> None:
    def factors(**settings: object) -> list[float]:
        schedule = changed(config, schedule=settings).schedule
        return [round(learning_rate_factor(schedule, step, 10, 5), 4) for step in range(10)]

    assert factors(shape="constant", warmup_epochs=0.4) == [0.3333, 0.6667, *[1.0] * 8]
    assert factors(shape="linear", warmup_epochs=0, final=0.5) == [1, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55]
    assert factors(shape="steps", warmup_epochs=0, step_at=[0.3, 0.8]) == [*[1.0] * 3, *[0.1] * 5, *[0.01] * 2]
    assert factors(warmup_epochs=0)[5] == 0.5


def test_an_interval_covers_its_difference_and_knows_chance_from_gain() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(40), 10)
    before = random.random(400)
    better = verdict("MAP@R", before, np.clip(before + 0.1 * random.random(400), 0, 1), labels)
    assert better.helped
    assert better.low < better.difference < better.high
    chance = verdict("MAP@R", before, random.permutation(before), labels)
    assert not chance.helped
    assert chance.high > 0
    worse = verdict("MAP@R", before, before - 0.2, labels)
    assert "Training made it worse" in worse.lines()[1]
    one = verdict("MAP@R", np.array([0.1, np.nan, 0.3]), np.array([0.2, 0.5, 0.5]), np.array([0, 0, 1]))
    assert one.difference == pytest.approx(0.15)


def test_a_dry_run_warns_of_likely_mistakes(config: RunConfig, table: Table) -> None:
    frame = table.frame[(table.frame["label"] != "c0") | (table.frame["fold"] == 1)].assign(width=10, height=10)
    frame = frame[(frame["label"] != "c0") | ~frame["label"].duplicated()]
    wrong = changed(
        config,
        optimizer={"lr": {"backbone": 1e-2, "class_weights": 1e-3}},
        accumulate=2,
        loss={"type": "cross_entropy", "label_smoothing": 0.3},
    )
    result = dry_run(wrong, Table(frame, table.root, table.path))
    assert result.network_and_optimizer_mib > 1
    for part in ("1 of 5 classes have one image", "class_weights 0.001 is below", "enlarged more than 2", "BatchNorm",
                 "label_smoothing"):  # fmt: skip
        assert any(part in line for line in result.warnings), (part, result.warnings)
