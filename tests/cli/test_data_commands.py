"""filter, split and kfold end to end on drawn images, and what they say to bad input."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from eml.cli.app import main
from eml.dataset.sidecar import read_sidecar
from eml.dataset.table import read_table

pytestmark = pytest.mark.slow

LABELS = {"007": 6, "7": 5, "🍎": 5, "NA": 4, "b c": 1}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of noise, each image its own; 007 has a copy, and 🍎 has the same one."""
    root = tmp_path_factory.mktemp("drawn") / "images"
    random = np.random.default_rng(0)
    for label, count in LABELS.items():
        (root / label).mkdir(parents=True)
        for n in range(count):
            coarse = Image.fromarray(random.integers(0, 255, (8, 8), dtype=np.uint8))
            coarse.resize((40 + n, 40)).save(root / label / f"{n}.png")
    shutil.copy(root / "007" / "0.png", root / "007" / "copy.png")
    shutil.copy(root / "007" / "0.png", root / "🍎" / "copy.png")
    return root


@pytest.fixture
def folder(drawn: Path, tmp_path: Path) -> Path:
    shutil.copytree(drawn, tmp_path / "images")
    return tmp_path / "images"


def eml(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, Any]:
    """Runs the command with --json; what it printed on stdout must be one JSON object and nothing else."""
    assert main([*map(str, arguments), "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> list[str]:
    """The lines on stderr of a command that the user must mend."""
    assert main(list(map(str, arguments))) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err.splitlines()


def test_the_whole_way_from_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    filtered = eml(capsys, "filter", folder, "--dedup", "--scope", "dataset", "--min-per-class", 2)
    assert filtered["pairs_across_classes"].pop("near_expected_by_chance") < 1
    assert filtered == {
        "table": f"{folder}/dataset_info.csv",
        "images_before": 23,
        "classes_before": 5,
        "removed": {"label_conflict": 3, "small_class": 1},
        "images": 19,
        "classes": 4,
        "classes_lost": ["b c"],
        "conflict_groups": 1,
        "conflict_images": 3,
        "pairs_across_classes": {"compared": 201, "near": 2, "same_image": 2},
        "unknown_images": 0,
        "written": [f"{folder}/{name}.csv" for name in ("dataset_info_filtered", "dataset_removed", "label_conflicts")],
    }
    sides = eml(capsys, "split", folder, "--by", "alternate")
    assert sides["table"] == f"{folder}/dataset_info_filtered.csv"
    assert sides["train"] == {
        "images": 9,
        "classes": 2,
        "smallest_class": 4,
        "largest_class": 5,
        "classes_of_one": 0,
        "unknown_images": 0,
    }
    folds = eml(capsys, "kfold", folder, "--k", 4)
    assert folds["table"] == f"{folder}/dataset_train.csv"
    assert [fold["images"] for fold in folds["folds"]] == [3, 2, 2, 2]
    table = read_table(folder / "folds.csv", check_files=True)
    assert set(table.frame["label"]) == {"007", "NA"}
    sidecar = read_sidecar(folder / "folds.csv")
    assert sidecar is not None
    assert sidecar.command == f"eml kfold {folder} --k 4 --json"


def test_the_outputs_say_what_they_say_in_the_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["filter", str(folder), "--dedup", "--conflicts", "keep"]) == 0
    out, err = capsys.readouterr()
    assert "warning: 3 images in 1 group are there with another label too and were kept: see label_conflicts" in err
    assert re.search(r"duplicate +-1\n", out)
    assert f"wrote {folder}/dataset_removed.csv\n" in err
    assert err.endswith(f"next: eml split {folder} --by ratio --test-ratio 0.3\n")
    removed = read_table(folder / "dataset_removed.csv").frame
    assert removed[["label", "file_name", "reason", "kept"]].to_numpy().tolist() == [
        ["007", "007/copy.png", "duplicate", "007/0.png"]
    ]
    assert main(["split", str(folder), "--min-n-samples", "5", "--max-n-samples", "5"]) == 0
    err = capsys.readouterr().err
    assert "warning: 1 of 4 test classes have one image" in err
    classes = pd.read_csv(folder / "classes_test.csv", dtype=str, keep_default_na=False)
    assert classes.to_numpy().tolist() == [["007", "6"], ["NA", "4"], ["b c", "1"], ["🍎", "6"]]
    assert main(["kfold", str(folder / "dataset_info.csv"), "--task", "closed", "--out", str(folder / "x")]) == 0
    out, err = capsys.readouterr()
    assert "-1 (always train)" in out
    assert "warning: fewer than 5 images, so always trained on (but for images in a group" in err
    assert "with other classes): 2 classes: NA, b c\n" in err


def test_identical_files_in_two_classes_are_removed_and_listed_without_being_asked_about(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filtered = eml(capsys, "filter", folder, "--dedup")
    assert filtered["removed"] == {"label_conflict": 3}
    assert filtered["pairs_across_classes"] is None
    listed = pd.read_csv(folder / "label_conflicts.csv", dtype=str)
    assert listed["file_name"].tolist() == ["007/0.png", "007/copy.png", "🍎/copy.png"]


def test_an_earlier_conflict_list_does_not_outlive_the_tables_it_belongs_to(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    eml(capsys, "filter", folder, "--dedup", "--scope", "dataset")
    assert len(pd.read_csv(folder / "label_conflicts.csv")) == 3
    eml(capsys, "filter", folder, "--min-size", 2)
    assert pd.read_csv(folder / "label_conflicts.csv").columns.tolist() == ["group", "file_name", "label", "distance"]
    assert len(pd.read_csv(folder / "label_conflicts.csv")) == 0


def test_lists_of_images_are_left_out_and_belong_to_the_inputs(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.csv").write_text("rank,file_name\n1,🍎/copy.png\n")
    (tmp_path / "ugly.csv").write_text("file_name\n7/0.png\n")
    filtered = eml(capsys, "filter", folder, "--exclude", tmp_path / "bad.csv", "--exclude", tmp_path / "ugly.csv")
    assert filtered["removed"] == {"excluded": 2}
    (tmp_path / "bad.csv").write_text("rank,file_name\n")
    assert "is out of date" in refused(capsys, "split", folder)[0]


def test_parquet_stays_parquet(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scan", str(folder), "--out", str(tmp_path / "t.parquet")]) == 0
    capsys.readouterr()
    eml(capsys, "filter", tmp_path / "t.parquet", "--min-per-class", 5)
    sides = eml(capsys, "split", tmp_path / "dataset_info_filtered.parquet", "--by", "ratio", "--test-ratio", 0.4)
    assert f"{tmp_path}/dataset_train.parquet" in sides["written"]
    assert read_table(tmp_path / "dataset_train.parquet", check_files=True).root.resolve() == folder.resolve()


def test_split_by_a_column_named_after_the_dataset(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = folder / "mine.csv"
    table.write_text("label,file_name,side\n007,007/0.png,train\n7,7/0.png,test\n🍎,🍎/0.png,train\n")
    sides = eml(capsys, "split", table, "--by", "column", "side")
    assert (sides["train"]["classes"], sides["test"]["classes"]) == (2, 1)
    assert "--by column needs the column's name" in refused(capsys, "split", table, "--by", "column")[0]


def test_options_that_would_be_ignored_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "split", folder, "side", "--test-ratio", "0.5") == [
        "--test-ratio goes with --by ratio, not with --by counts",
        "COLUMN goes with --by column, not with --by counts",
    ]
    assert refused(capsys, "filter", folder, "--threshold", "3", "--scope", "dataset", "--min-size", "9") == [
        "--threshold, --scope: only with --dedup"
    ]
    assert "no rule to filter by" in refused(capsys, "filter", folder)[0]
    assert not (folder / "dataset_info.csv").exists()


COMMANDS = [["filter", "--min-size", "2"], ["split", "--by", "alternate"], ["kfold", "--k", "2"]]
TABLES = {
    "class,file\na,1.jpg\n": [
        "{t}:1: columns 'label' and 'file_name' are missing (are they 'class' and 'file'? Set --file-column file "
        "--label-column class); columns found: class, file"
    ],
    "label,file_name\n007,007/0.png\na,a/none.png\n": ["{t}:3: no such image under {root}: 'a/none.png'"],
    "label,file_name\n007,007/0.png\n007,../images/007/1.png\n": [
        "{t}:3: file_name must stay under the root: relative and without '..', got '../images/007/1.png'"
    ],
    "label,file_name\n007,007/0.png\n,007/0.png\n": [
        "{t}:3: label is empty",
        "{t}:3: '007/0.png' occurs more than once",
    ],
}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("text", list(TABLES))
def test_bad_tables_are_refused_and_nothing_is_written(
    command: list[str], text: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = folder / "mine.csv"
    table.write_text(text)
    before = sorted(folder.rglob("*"))
    told = [line.format(t=table, root=folder) for line in TABLES[text]]
    assert refused(capsys, command[0], table, *command[1:]) == told
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_missing_and_empty_folders_are_told(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refused(capsys, command[0], tmp_path / "none", *command[1:])
    assert told == [f"{tmp_path}/none: no such file or folder"]
    (tmp_path / "empty").mkdir()
    assert f"{tmp_path}/empty: is empty" in refused(capsys, command[0], tmp_path / "empty", *command[1:])[-1]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_an_output_that_cannot_be_written_is_told(
    command: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scan", str(folder)]) == 0
    (tmp_path / "file").write_text("mine")
    capsys.readouterr()
    told = refused(capsys, command[0], folder, *command[1:], "--out", tmp_path / "file" / "x")
    assert f"{tmp_path}/file/x: cannot be written, since {tmp_path}/file is a file. Give another --out" in told
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "command, name, what",
    [
        *((words, "x.txt", "a folder for the tables, which have names of their own") for words in COMMANDS),
        (["scan"], "x.json", "the table to write (NAME.csv or NAME.parquet), or a folder for it"),
        (["report"], "x.TXT", "the page to write (NAME.html), or a folder for it"),
        (["suspects"], "x.html", "a folder for the tables and the page"),
    ],
)
def test_no_folder_is_made_with_the_name_of_a_file(
    command: list[str], name: str, what: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / name
    told = f"{out}: --out is {what}; no folder is made with {out.suffix} at its end"
    assert refused(capsys, command[0], folder, *command[1:], "--out", out) == [told]
    assert not out.exists()
    assert not list(folder.glob("*.csv"))


@pytest.mark.parametrize(
    "command, output",
    list(zip(COMMANDS, ["dataset_removed.csv", "classes_test.csv", "folds.csv"], strict=True)),
)
def test_a_users_file_is_replaced_only_with_overwrite(
    command: list[str], output: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scan", str(folder)]) == 0
    (folder / output).write_text("mine")
    before = sorted(folder.rglob("*"))
    capsys.readouterr()
    assert refused(capsys, command[0], folder / "dataset_info.csv", *command[1:]) == [
        f"{folder}/{output}: exists and was not written by eml. Set --overwrite to replace it, or give another --out"
    ]
    assert (folder / output).read_text() == "mine"
    assert sorted(folder.rglob("*")) == before
    assert main([command[0], str(folder / "dataset_info.csv"), *command[1:], "--overwrite"]) == 0
    assert f"replaced {folder}/{output}\n" in capsys.readouterr().err
    assert main([command[0], str(folder / "dataset_info.csv"), *command[1:]]) == 0  # now it is eml's own


def test_a_command_never_writes_over_its_input(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    eml(capsys, "kfold", folder, "--k", 2)
    told = refused(capsys, "kfold", folder / "folds.csv", "--overwrite")
    assert told == [
        f"{folder}/folds.csv: would be overwritten, but the input is this file or was made from it. Give another --out"
    ]


def test_a_table_elsewhere_is_read_with_its_root(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "elsewhere" / "mine.csv"
    table.parent.mkdir()
    table.write_text("label,file_name\n007,007/0.png\n🍎,🍎/0.png\n")
    assert "Give the folder that file_name is relative to as --root" in refused(capsys, "split", table)[0]
    eml(capsys, "split", table, "--by", "alternate", "--root", folder)
    assert read_table(table.parent / "dataset_test.csv", check_files=True).frame["label"].tolist() == ["🍎"]
    assert refused(capsys, "kfold", table, "--root", folder / "none") == [f"--root {folder}/none: no such folder"]


def test_dedup_without_hashes_says_how_to_get_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scan", str(folder), "--no-hashes"]) == 0
    capsys.readouterr()
    told = refused(capsys, "filter", folder, "--dedup")[-1]
    assert (
        told
        == f"{folder}/dataset_info.csv: has no column 'hash' to find duplicates by. Run: eml scan FOLDER --hashes, "
        "and give the table that it makes"
    )


def test_one_class_and_one_image_per_class_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label in ("a", "b", "c"):
        (tmp_path / label).mkdir()
        Image.new("RGB", (9, 9)).save(tmp_path / label / "1.png")
    assert "every class has one image" in refused(capsys, "kfold", tmp_path)[-1]
    assert "no class has 3 to 50 images, which leaves none to train" in refused(capsys, "split", tmp_path)[-1]
    one = tmp_path / "one.csv"
    one.write_text("label,file_name\na,a/1.png\n")
    assert "has 1 class, which leaves none to test" in refused(capsys, "split", one, "--by", "alternate")[-1]
