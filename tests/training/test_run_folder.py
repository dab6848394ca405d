"""The run folder, and what becomes of one that eml 0.1.0 wrote."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import eml
from eml.dataset.table import Table
from eml.errors import CheckpointError, ConfigError, OutputError
from eml.reports.curves import draw_comparison, draw_curves
from eml.reports.run_logs import find_best
from eml.training.build import build_parts
from eml.training.checks import check
from eml.training.config import RunConfig
from eml.training.events import Note, Stepped
from eml.training.fit import fit
from eml.training.run_folder import RunFolder, remove_folder
from tests.training.runs import changed, left_by, stop_at

pytestmark = pytest.mark.slow


def test_a_run_folder_is_replaced_only_with_overwrite_and_a_folder_of_the_user_never(
    config: RunConfig, table: Table
) -> None:
    config.output.mkdir()
    (config.output / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="already exists"):
        fit(config, table)
    with pytest.raises(OutputError, match="is not a run folder of eml"):
        fit(config, table, overwrite=True)
    (config.output / "thesis.txt").unlink()
    fit(config, table)
    first = left_by(config.output)
    with pytest.raises(OutputError, match="already exists"):
        fit(config, table)
    results, own = config.output / "evaluations" / "test", config.output / "evaluations" / "mine"
    for folder in (results, own):
        folder.mkdir(parents=True)
        (folder / "report.html").write_text('<meta name="generator" content="eml 0">' if folder == results else "mine")
        np.savez(folder / "embeddings.npz", embeddings=0, **{"file_name": 0, "label": 0} if folder == results else {})
        (folder / "metrics.json").write_text("{}")
    notes: list[object] = []
    fit(config, table, overwrite=True, observe=notes.append)
    assert left_by(config.output) == first
    assert list(results.iterdir()) == []
    assert sorted(file.name for file in own.iterdir()) == ["embeddings.npz", "report.html"], "not written by eml"
    for name in ("report.html", "embeddings.npz"):
        assert Note(f"removed {results / name}, of the run that is replaced") in notes


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_device_is_no_run_folder(overwrite: bool, config: RunConfig) -> None:
    with pytest.raises(ConfigError, match="/dev/null: is a pipe or a device; choose a folder for output"):
        check(changed(config, output="/dev/null"), resume=False, overwrite=overwrite)  # as a dry run does


@pytest.mark.parametrize("ways", [{"resume": True}, {"overwrite": True}], ids=["resume", "overwrite"])
def test_a_second_training_in_the_same_folder_is_refused(ways, config: RunConfig, table: Table) -> None:
    refused = []

    def begin_another(event: object) -> None:
        if isinstance(event, Stepped) and event.step == 2:
            before = left_by(config.output)
            with pytest.raises(OutputError, match="another training writes into this folder") as error:
                fit(config, table, **ways)
            refused.append(error)
            assert left_by(config.output) == before

    fit(config, table, observe=begin_another)
    assert refused
    fit(config, table, resume=True)  # the lock is gone with the run


OLD_RUN = Path(__file__).parents[1] / "fixtures" / "v0_1_0" / "run"


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    return shutil.copytree(OLD_RUN, tmp_path / "old_run")


def test_a_run_of_0_1_0_cannot_be_resumed_and_says_that_its_weights_can_be_used(
    old_run: Path, config: RunConfig, table: Table
) -> None:
    old = changed(config, output=old_run)
    for resume in (lambda: check(old, resume=True, overwrite=False), lambda: fit(old, table, resume=True)):
        with pytest.raises(Exception, match=f"eml 0.1.0 saved this run.*set model.weights to {old_run} and") as error:
            resume()
        assert error.value.problems[0].code == "old-training-state"
        assert error.value.problems[0].parameter == "resume"


def test_a_run_of_0_1_0_is_loaded_plotted_and_its_weights_begin_another_run(
    old_run: Path, config: RunConfig, table: Table
) -> None:
    model = eml.load(old_run, device="cpu")
    assert model.size == 8
    draw_curves(old_run)
    draw_comparison([old_run], "map_at_r", old_run / "compared.png")
    assert (old_run / "curves.png").is_file()
    assert find_best(old_run, "map_at_r").epoch is not None
    neck = {"type": "linear", "size": 8}
    begun = changed(config, model={"backbone": "test_efficientnet", "weights": old_run, "neck": neck}, epochs=1)
    weights = build_parts(begun, table).embedder.state_dict()
    for key, tensor in model.embedder.state_dict().items():
        assert torch.equal(weights[key], tensor), key
    assert fit(begun, table).best_epoch == 1


def test_a_state_of_a_later_version_is_refused(
    config: RunConfig, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(config, table, 2)
    folder = RunFolder(config.output)
    folder.refuse_not_resumable()
    monkeypatch.setattr("eml.training.run_folder.STATE_VERSION", 3)
    with pytest.raises(CheckpointError, match="another version of eml saved this run"):
        folder.refuse_not_resumable()


def test_a_folder_without_a_state_cannot_be_resumed(tmp_path: Path) -> None:
    for folder, message in ((tmp_path, "has no state.pt"), (tmp_path / "gone", "does not exist")):
        with pytest.raises(CheckpointError, match=message) as error:
            RunFolder(folder).refuse_not_resumable()
        assert error.value.code == "no-saved-state"


def test_a_checkpoint_with_a_folder_in_it_is_removed_whole(tmp_path: Path) -> None:
    (tmp_path / "epoch-001" / "tokenizer").mkdir(parents=True)
    (tmp_path / "epoch-001" / "tokenizer" / "tokenizer.json").write_text("{}")
    remove_folder(tmp_path / "epoch-001")
    assert not (tmp_path / "epoch-001").exists()
