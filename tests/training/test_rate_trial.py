"""Trials of learning rates before a run."""

from pathlib import Path

import pytest

from eml.dataset.table import Table, write_table
from eml.training import rate_trial
from eml.training.config import RunConfig
from eml.training.events import Note
from eml.training.fit import fit
from eml.training.rate_trial import recorded_rate, with_rate
from eml.training.run_folder import RunFolder
from tests.training.runs import changed, draw

RATES = (1e-4, 3e-4)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Nine classes, of which six are held out."""
    folder = tmp_path_factory.mktemp("rates")
    frame = draw(folder / "images", 9, 4)
    frame["fold"] = (frame["label"] > "c5").astype(int)
    return write_table(frame, folder / "folds.csv", command="test", root=folder / "images")


def trying(config: RunConfig, table: Table, tmp_path: Path, **values: object) -> RunConfig:
    lr = {"backbone": 1e-4, "neck": 2e-4, "candidates": RATES}
    data = {"table": table.path, "fold": 0}
    return changed(config, output=tmp_path / "run", data=data, optimizer={"lr": lr}, **values)


def test_the_best_rate_is_trained_with_recorded_and_kept_on_resuming(
    config: RunConfig, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_trial, "STEPS", 2)
    values = iter((0.3, 0.4))
    monkeypatch.setattr(rate_trial, "_value", lambda *parts: next(values))
    notes: list[str] = []
    own = trying(config, table, tmp_path, epochs=20, validation={"every": 20})
    own = changed(own, epochs=14)
    fit(own, table, observe=lambda event: notes.append(event.text) if isinstance(event, Note) else None)
    folder = RunFolder(tmp_path / "run")
    assert recorded_rate(folder.facts()) == 3e-4
    assert max(line["lr"]["backbone"] for line in folder.read("steps")) == pytest.approx(3e-4)
    assert max(line["lr"]["neck"] for line in folder.read("steps")) == pytest.approx(6e-4)
    assert any("0.0001: 0.3000, 0.0003: 0.4000" in note for note in notes)
    fit(changed(own, epochs=15), table, resume=True, accept_changes=True)  # tries nothing: `values` is used up
    assert folder.read("steps")[-1]["lr"]["neck"] == pytest.approx(2 * folder.read("steps")[-1]["lr"]["backbone"])


def test_trials_begin_at_the_same_weights_and_differ_by_their_rate_alone(
    config: RunConfig, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_trial, "STEPS", 2)
    from eml.training.fit import Run

    own = trying(config, table, tmp_path, epochs=20)
    same = own.model_copy(update={"optimizer": with_rate(own, 1e-4).optimizer})
    lr = own.optimizer.lr.model_copy(update={"candidates": (1e-4, 0.5)})
    chosen, trial = rate_trial.try_rates(
        own.model_copy(update={"optimizer": own.optimizer.model_copy(update={"lr": lr})}), table, Run
    )
    again, second = rate_trial.try_rates(own, table, Run)
    assert trial is not None
    assert second is not None
    assert trial.values[1e-4] == second.values[1e-4]
    assert trial.values[0.5] != trial.values[1e-4]
    assert not (tmp_path / "run").exists()
    assert again.optimizer.lr.candidates == chosen.optimizer.lr.candidates == ()
    assert rate_trial.try_rates(same, table, Run) == (same, None)


@pytest.mark.parametrize("values", [{"epochs": 1}, {"data": {"fold": None}}])
def test_short_runs_and_runs_without_validation_try_nothing(
    config: RunConfig, table: Table, tmp_path: Path, values: dict[str, object]
) -> None:
    from eml.training.fit import Run

    own = trying(config, table, tmp_path)
    data = own.data.model_dump() | dict(values.get("data", {}))  # type: ignore[call-overload]
    own = changed(own, **values | {"data": data})
    assert rate_trial.try_rates(own, table, Run) == (with_rate(own, 1e-4), None)


def test_a_run_that_tried_nothing_is_resumed_with_its_candidates(config: RunConfig, table: Table) -> None:
    from eml.distributed.processes import SINGLE_PROCESS
    from eml.training.fit import _with_rate

    given = changed(config, optimizer={"lr": {"backbone": 0.001, "candidates": [0.001, 0.003]}}, epochs=1)
    begun, trial = _with_rate(given, table, lambda event: None, SINGLE_PROCESS, resume=False)
    assert trial is None, "there are too few steps"
    given.output.mkdir()
    (given.output / "run.json").write_text("{}")
    resumed, _ = _with_rate(given, table, lambda event: None, SINGLE_PROCESS, resume=True)
    assert resumed == begun
