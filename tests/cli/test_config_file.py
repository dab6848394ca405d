"""`--config FILE`: any of a command's options from YAML."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eml.cli.app import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    random = np.random.default_rng(0)
    for label in ("a", "b"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(4):
            pixels = Image.fromarray(random.integers(0, 255, (8, 8), dtype=np.uint8))
            pixels.resize((40, 40)).save(tmp_path / "photos" / label / f"{number}.png")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def folds(capsys: pytest.CaptureFixture[str], *words: str) -> int:
    """Return the number of folds that `eml kfold` makes."""
    capsys.readouterr()
    assert main(["kfold", *words, "--json"]) == 0
    return len(json.loads(capsys.readouterr().out)["folds"])


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    capsys.readouterr()
    assert main(["kfold", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def test_the_file_gives_options_and_the_command_line_wins(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "folds.yaml").write_text("k: 2\nnear: false\n")
    assert folds(capsys, "photos", "--config", "folds.yaml") == 2
    assert folds(capsys, "photos", "--config", "folds.yaml", "--k", "4") == 4
    assert folds(capsys, "photos", "--config", "folds.yaml", "--near") == 2


def test_the_file_may_give_the_dataset_relative_to_itself(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "elsewhere" / "folds.yaml").write_text("dataset: ../photos\nk: 2\n")
    assert folds(capsys, "--config", "elsewhere/folds.yaml") == 2
    (folder / "elsewhere" / "folds.yaml").write_text("dataset: gone\nk: 2\n")
    assert folds(capsys, "photos", "--config", "elsewhere/folds.yaml") == 2, "relative to the current folder"


@pytest.mark.parametrize("text", ["", "# k: 2\n", "\n---\n", "{}\n"])
def test_an_empty_file_is_no_option(text: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "empty.yaml").write_text(text)
    assert folds(capsys, "photos", "--config", "empty.yaml", "--k", "3") == 3
    assert refused(capsys, "--config", "empty.yaml") == ["Missing argument 'DATASET', or a --config FILE that has it"]


def test_all_that_is_wrong_in_the_file_is_said_with_its_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bad.yaml").write_text("k: many\nkk: 3\nby: groups\n")
    lines = refused(capsys, "photos", "--config", "bad.yaml")
    assert lines[:2] == [
        "bad.yaml:1: k must be a whole number or null, got 'many'.",
        "bad.yaml:2: unknown key 'kk' (did you mean 'k'?); known: dataset, k, random_seed, task, by, group_by, "
        "threshold, near, class_level, unknown_label, root, file_column, label_column, strip_prefix, path_prefix, "
        "path_suffix, match_names, out, overwrite",
    ]
    assert lines[2].startswith("bad.yaml:3: by must be 'images', 'class' or null, got 'groups'")
    assert refused(capsys, "photos", "--config", "gone.yaml") == ["gone.yaml: there is no such file"]
    (folder / "list.yaml").write_text("- k\n")
    assert refused(capsys, "photos", "--config", "list.yaml") == [
        "list.yaml:1: must be a section (key: value), got ['k']"
    ]


def test_a_training_config_is_told_from_a_file_of_options(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "run.yaml").write_text("output: run\ndata: {table: t.csv}\nmargin: far_cos\nplugins: [far.py]\n")
    assert main(["margins", "far_cos", "--config", "run.yaml"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "run.yaml: is a training config (output, data, margin), and --config takes the options of this command; give "
        "the plugins that it names as --plugin. Training configs go to eml train"
    ]
    (folder / "typo.yaml").write_text("dataset: photos\nepochs: 3\n")
    assert "typo.yaml:2: unknown key 'epochs'" in refused(capsys, "--config", "typo.yaml")[0]


def test_options_of_the_file_and_the_command_line_are_checked_together(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "near.yaml").write_text("near: false\n")
    (line,) = refused(capsys, "photos", "--config", "near.yaml", "--threshold", "4")
    assert "--threshold has no effect with --no-near; leave one of them out" in line


def test_several_values_come_from_a_list(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "other").mkdir()
    (folder / "photos" / "b").rename(folder / "other" / "b")
    (folder / "merge.yaml").write_text("datasets: [one=photos, other]\nout: all\nlabels: merged\n")
    assert main(["merge", "--config", "merge.yaml", "--json"]) == 0
    merged = json.loads(capsys.readouterr().out)
    assert [dataset["dataset"] for dataset in merged["datasets"]] == ["one", "other"]
    assert merged["written"] == [f"{folder}/all/dataset_merged.csv"], "relative to the file"
