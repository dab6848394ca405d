"""The refit on all classes: it goes on by what was chosen, and the measured figure stays the other network's."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from eml.dataset.table import Table
from eml.errors import Interrupted
from eml.inference.load import load
from eml.models.checkpoint import load_checkpoint
from eml.models.pointers import find_checkpoint
from eml.training.build import build_parts
from eml.training.config import RunConfig
from eml.training.events import Event, Note, Stepped
from eml.training.fit import fit
from eml.training.question import Question
from eml.training.run_folder import RunFolder
from eml.training.stages import refit as refit_module
from eml.training.stages.choosing import StagedOutcome
from eml.training.stages.class_starts import start_classes
from eml.training.stages.features import embed_training_images
from eml.training.stages.outcomes import TUNED, UNTOUCHED, Outcome
from eml.training.stages.refit import is_refitted, refit_config
from eml.training.stages.steps import StagesResult, StageStep
from eml.training.stages.views import View
from tests.training.runs import changed, left_by

pytestmark = pytest.mark.slow
UNSEEN, KNOWN = Question(4, 0, 16, 0), Question(4, 4, 16, 0)
FLIP = View(tta="flip")
ALL = [f"c{number}" for number in range(12)]


def staged_outcome(outcome: Outcome, *, kept: bool = True, epoch: int = 2) -> StagedOutcome:
    step = StageStep("fine-tuned", "epoch 2", {}, 0.1, 0.2, 0.05, 0.15, 4, kept)
    result = StagesResult("MAP@R", (step,), 0.1, outcome.text, 0.2, "4 classes", 1)
    nothing = np.full(16, np.nan)
    labels = np.zeros(16, np.int64)
    return StagedOutcome(result, {"map_at_r": 0.1}, {"map_at_r": 0.2}, (nothing, nothing), labels, outcome, epoch)


def test_a_refit_is_for_open_tasks_where_a_stage_is_better_unless_the_config_says_otherwise(staged: RunConfig) -> None:
    better, none = staged_outcome(Outcome(TUNED)), staged_outcome(Outcome(), kept=False)
    assert is_refitted(staged, better, UNSEEN)
    assert not is_refitted(staged, none, UNSEEN)
    assert not is_refitted(staged, staged_outcome(Outcome(view=FLIP)), UNSEEN), "the mirror image learns nothing"
    assert not is_refitted(staged, better, KNOWN)
    assert not is_refitted(changed(staged, task="closed"), better, UNSEEN)
    assert is_refitted(changed(staged, refit=True), better, KNOWN)
    assert not is_refitted(changed(staged, refit=False), better, UNSEEN)
    warm, cold = refit_config(staged, 6, 1000), refit_config(staged, 6, 100)
    assert (warm.epochs, warm.head.init.type, warm.model.weights) == (
        4,
        "means",
        staged.output / "checkpoints/epoch-006",
    )
    assert (cold.epochs, cold.head.init.type, cold.model.weights) == (6, "random", "none")
    assert {config.data.fold for config in (warm, cold)} == {None}


@pytest.mark.parametrize(
    ("few", "outcome"),
    [
        (1, Outcome(TUNED, "shrinkage 0.5", FLIP)),
        pytest.param(300, Outcome(TUNED, "shrinkage 0.5", FLIP), marks=pytest.mark.wide),
        pytest.param(300, Outcome(UNTOUCHED, "shrinkage 0.5"), marks=pytest.mark.wide),
    ],
)
def test_the_refitted_model_is_trained_on_all_classes_and_carries_the_measured_figure(
    few: int, outcome: Outcome, staged: RunConfig, open_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refit_module, "FEW_IMAGES", few)
    monkeypatch.setattr("eml.training.fit.is_refitted", lambda *given: False)
    first = fit(staged, open_table)
    parts = build_parts(staged, open_table, resume=True)
    from eml.training.fit import Run

    notes: list[str] = []
    run = Run(parts, lambda event: notes.append(event.text) if isinstance(event, Note) else None)
    run.staged = staged_outcome(outcome, epoch=first.best_epoch)
    run.saver.record = load(staged.output / "checkpoints" / "last", device="cpu").trained_on
    monkeypatch.setattr("eml.training.fit.is_refitted", lambda *given: True)
    result = run.refit(run.result(), open_table)
    assert result.stages is not None
    assert "all 12 classes" in result.stages.refit
    assert find_checkpoint(staged.output).name == "refitted"
    model = load(staged.output, device="cpu")
    assert model.trained_on is not None
    assert model.trained_on.classes == set(ALL)
    assert len(model.trained_on.keys) == 48
    assert load_checkpoint(staged.output).metrics["map_at_r"] == 0.2
    assert model.tta == outcome.view.tta
    assert any(note.startswith("no calibration is carried over: ") for note in notes), "4 classes are too few for one"
    assert "all 12 classes" in json.loads((staged.output / "run.json").read_text())["stages"]["refit"]
    assert (staged.output / "refit").exists() == (outcome.alpha == TUNED)


@pytest.mark.wide
def test_a_refit_that_is_stopped_and_resumed_leaves_the_same_bytes(
    staged: RunConfig, open_table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refit_module, "FEW_IMAGES", 1)
    monkeypatch.setattr("eml.training.fit.is_refitted", lambda *given: True)
    monkeypatch.setattr("eml.training.stages.steps.judge", _always_better)
    fit(staged, open_table)
    assert find_checkpoint(staged.output).name == "refitted"
    config = changed(staged, output=tmp_path / "stopped")
    steps = 0

    def observe(event: Event) -> None:
        nonlocal steps
        steps += isinstance(event, Stepped)
        if isinstance(event, Stepped) and steps == 10:  # 8 are of the run
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        fit(config, open_table, observe=observe)
    fit(config, open_table, resume=True)
    mine, theirs = (left_by(run.output) for run in (config, staged))
    assert {name: data for name, data in mine.items() if not name.endswith("calibration.json")} == {
        name: data for name, data in theirs.items() if not name.endswith("calibration.json")
    }, "a calibration says when it was made"
    mine, theirs = (left_by(run.output / "refit") for run in (config, staged))
    names = [name for name in theirs if name.endswith(("steps.jsonl", "model.safetensors"))]
    assert len(names) == 2
    assert all(mine[name] == theirs[name] for name in names)
    fit(staged, open_table, overwrite=True)
    RunFolder(staged.output).remove()
    assert not staged.output.exists()


def _always_better(
    before: object, after: object, labels: object, comparisons: int = 1, *, one_sided: bool = False
) -> object:
    from eml.retrieval.statistics import Difference, Interval

    return Difference(0.1, 0.2, Interval(0.05, 0.15, 4))


def test_class_weights_can_begin_as_the_mean_embeddings_of_their_images(staged: RunConfig, open_table: Table) -> None:
    means = changed(staged, head={"scale": 16, "init": "means"})
    parts = build_parts(means, open_table)
    start_classes(parts)
    outputs, labels = embed_training_images(parts, parts.embedder)
    unit = torch.nn.functional.normalize(outputs)
    for number in range(len(parts.data.classes)):
        mean = torch.nn.functional.normalize(unit[torch.from_numpy(labels == number)].mean(0), dim=0)
        assert torch.allclose(parts.head.class_weights[number], mean, atol=1e-5)
    several = build_parts(changed(staged, head={"scale": 16, "centers": 2, "init": "means"}), open_table)
    start_classes(several)
    first, second = several.head.class_weights.detach()[:, 0], several.head.class_weights.detach()[:, 1]
    assert ((first * second).sum(1) > 0.9).all()
    assert not torch.equal(first, second)


def test_a_run_is_not_finished_before_its_refit(
    staged: RunConfig, open_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refit_module, "FEW_IMAGES", 1)
    monkeypatch.setattr("eml.training.fit.is_refitted", lambda *given: True)
    monkeypatch.setattr("eml.training.stages.steps.judge", _always_better)

    def observe(event: Event) -> None:
        if isinstance(event, Note) and event.text.startswith("refit on all classes"):
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fit(staged, open_table, observe=observe)
    assert not RunFolder(staged.output).facts().get("finished"), "a sweep would leave the refit out"
    result = fit(staged, open_table, resume=True)
    facts = RunFolder(staged.output).facts()
    assert result.stages is not None
    assert facts["stages"]["refit"] == result.stages.refit != ""
    assert facts["finished"]["best_epoch"] == result.best_epoch


@pytest.mark.wide
def test_no_fold_of_a_cross_validation_is_trained_on_in_the_end(
    staged: RunConfig, open_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eml.training.cross_validation import fit_folds

    monkeypatch.setattr("eml.training.stages.steps.judge", _always_better)
    monkeypatch.setattr("eml.training.stages.closed_form.judge", _always_better)
    config = changed(staged, epochs=1)
    result = fit_folds(config, open_table)
    assert all(find_checkpoint(run.folder).name == "finished" for run in result.folds.values())
    assert json.loads((config.output / "folds.json").read_text())["trained_on"]["images"] == 0
    assert any(run.stages and run.stages.shipped != "untouched network" for run in result.folds.values())
