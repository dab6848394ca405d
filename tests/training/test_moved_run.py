"""A run, its data and its config that are moved to another folder are resumed there, to the same bytes."""

import json
import shutil
from pathlib import Path

import pytest

import eml
from eml.config import dump, load
from eml.dataset.table import write_table
from eml.errors import CheckpointError, DataError
from eml.training.config import RunConfig
from eml.training.config_changes import config_changes, decisive_settings, moved_paths
from eml.training.data import table_to_train_on
from eml.training.moved_run import load_run_config
from tests.training.runs import changed, draw, left_by, stop_at

pytestmark = pytest.mark.slow


@pytest.fixture
def project(config: RunConfig, tmp_path: Path) -> Path:
    """A folder with images, tables, a config of relative paths, and a run that was stopped at step 3."""
    project = tmp_path / "before"
    frame = draw(project / "images", 5, 6)
    for name in ("folds", "other"):
        write_table(frame, project / "images" / f"{name}.csv", command="test", root=project / "images")
    values = {"output": project / "run", "validation": {"tables": {"other": project / "images" / "other.csv"}}}
    own = changed(config, data={"table": project / "images" / "folds.csv", "workers": 0}, epochs=1, **values)
    (project / "config.yaml").write_text(dump(own).replace(f"{project}/", ""))
    stop_at(load(RunConfig, project / "config.yaml"), table_to_train_on(own.data), 3)
    return project


def test_a_run_moved_with_its_data_and_config_resumes_to_the_same_bytes(project: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    eml.train(project / "config.yaml", output=str(whole))
    copied = shutil.copytree(project, tmp_path / "copied")
    moved = project.rename(tmp_path / "moved")
    eml.train(moved / "run", resume=True)
    eml.train(copied / "config.yaml", resume=True)
    for place in (moved, copied):
        assert left_by(place / "run") == left_by(whole), place
        changes = json.loads((place / "run" / "run.json").read_text())["changes"]
        old, new = f"{project}/images/folds.csv", f"{place}/images/folds.csv"
        assert changes[0]["changes"][0] == f"data.table: {old} → {new}"


@pytest.mark.wide
def test_data_that_moved_alone_are_found_where_the_config_is_told(project: Path, tmp_path: Path) -> None:
    now, run = tmp_path / "elsewhere", project / "run"
    (project / "images").rename(now)
    with pytest.raises(DataError, match=r"folds\.csv: no such file or folder\. Where it was moved, set data\.table"):
        eml.train(run, resume=True)
    places = [f"data.table={now / 'folds.csv'}", f"validation.tables.other={now / 'other.csv'}"]
    eml.train(run, resume=True, overrides=places)
    assert load(RunConfig, run / "config.yaml").data.table == now / "folds.csv"
    eml.train(run, resume=True)  # the run's own config says it now


def test_the_digest_decides_which_table_the_run_began_with(project: Path, tmp_path: Path) -> None:
    now = tmp_path / "now"
    shutil.copytree(project / "run", now / "run")
    shutil.copytree(project / "images", now / "images")
    assert load_run_config(now / "run" / "config.yaml").data.table == now / "images" / "folds.csv"
    (now / "images" / "folds.csv").write_text("label,file_name\n")  # of another project
    config = load_run_config(now / "run" / "config.yaml")
    assert (config.output, config.data.table) == (now / "run", project / "images" / "folds.csv")
    assert config.validation.tables == {"other": project / "images" / "other.csv"}
    own = load_run_config(now / "run" / "config.yaml", [f"output={tmp_path / 'mine'}", "data.table=mine.csv"])
    assert (own.output, own.data.table) == (tmp_path / "mine", Path.cwd() / "mine.csv")
    copied = shutil.copy(project / "run" / "config.yaml", tmp_path / "config.yaml")
    assert load_run_config(Path(copied)).output == project / "run"  # a config elsewhere is what it says


def test_places_are_no_change_of_the_config_and_names_and_columns_are(config: RunConfig, tmp_path: Path) -> None:
    def several(folder: str, **keys: object) -> RunConfig:
        tables = [tmp_path / folder / "shoes", {"table": tmp_path / folder / "bags" / "folds.csv", **keys}]
        weights = {"backbone": "test_resnet", "weights": tmp_path / folder / "weights.pth"}
        return changed(config, data={"table": tables, "root": None}, model=weights)

    before = decisive_settings(several("one"))
    assert config_changes(before, several("two")) == []
    moved = [line.split(":")[0].strip() for line in moved_paths(before, several("two"))]
    assert moved == ["data.table", "model.weights"]
    assert config_changes(before, several("two", name="sacks")) == [
        "  data.table: ['shoes', 'bags'] → ['shoes', 'sacks']"
    ]
    assert config_changes(before, several("one", label_column="kind")) == [
        "  data.table: ['shoes', 'bags'] → ['shoes', {'name': 'bags', 'label_column': 'kind'}]"
    ]
    none = changed(several("one"), model={"backbone": "test_resnet", "weights": "none"})
    assert config_changes(before, none) == ["  model.weights: a file or folder → none"]
    assert moved_paths(before, none) == []


def test_a_file_of_texts_elsewhere_is_no_change_and_other_texts_are(config: RunConfig, tmp_path: Path) -> None:
    def with_texts(**keys: object) -> RunConfig:
        return changed(config, class_texts=keys)

    before = decisive_settings(with_texts(encoder="st:a", names=tmp_path / "one" / "n.csv"))
    assert config_changes(before, with_texts(encoder="st:a", names=tmp_path / "two" / "n.csv")) == []
    assert config_changes(before, with_texts(encoder="st:b")) == [
        "  class_texts.encoder: st:a → st:b",
        "  class_texts.names: a file → None",
    ]


def test_a_section_that_is_switched_on_or_off_is_a_change(config: RunConfig) -> None:
    averaged = changed(config, ema={"decay": 0.5})
    assert config_changes(decisive_settings(config), averaged) == ["  ema: None → {'decay': 0.5, 'warmup': True}"]
    assert config_changes(decisive_settings(averaged), config) == ["  ema: {'decay': 0.5, 'warmup': True} → None"]
    mixed = changed(config, mix="mixup", text="anchor")
    changes = config_changes(decisive_settings(config), mixed)
    assert [line.split(":")[0].strip() for line in changes] == ["mix", "text"]
    old = {key: value for key, value in decisive_settings(config).items() if key != "text"}  # of an earlier eml
    assert config_changes(old, config) == []


def test_another_table_in_the_place_of_one_is_refused(project: Path) -> None:
    other = project / "images" / "other.csv"
    other.write_text(other.read_text().replace("c4,c4/5.png,2\n", ""))
    message = r"(?s)validation\.tables\.other: another table.*resume with its own: eml train .*run --resume"
    with pytest.raises(CheckpointError, match=message):
        eml.train(project / "config.yaml", resume=True)
    table = project / "images" / "folds.csv"
    table.write_text(table.read_text().replace("c4,c4/5.png,2\n", ""))
    with pytest.raises(CheckpointError, match=r"folds\.csv: is not the table that the run in .* began with"):
        eml.train(project / "config.yaml", resume=True, accept_changes=True)
