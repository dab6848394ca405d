"""eml merge on drawn folders and tables, the way on from it, and what it refuses."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eml.cli.app import main
from eml.dataset.sidecar import read_sidecar
from eml.dataset.table import read_table


def draw(root: Path, *labels: str, seed: int, count: int = 4) -> Path:
    random = np.random.default_rng(seed)
    for label in labels:
        (root / label).mkdir(parents=True)
        for number in range(count):
            noise = random.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(noise).resize((40, 40), Image.Resampling.BICUBIC).save(root / label / f"{number}.png")
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """shoes and bags, which have the class 007 in common, and one image of it."""
    draw(tmp_path / "shoes", "007", "boot", seed=1)
    draw(tmp_path / "bags", "007", "sack", seed=2)
    shutil.copy(tmp_path / "shoes" / "007" / "0.png", tmp_path / "bags" / "007" / "same.png")
    return tmp_path


def eml(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, Any]:
    assert main([*map(str, arguments), "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> list[str]:
    assert main(list(map(str, arguments))) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err.splitlines()


def test_two_folders_become_one_table_and_the_way_goes_on_from_its_folder(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder / "all"
    merged = eml(capsys, "merge", folder / "shoes", folder / "bags", "--out", out, "--labels", "merged")
    assert merged == {
        "datasets": [
            {"dataset": "shoes", "images": 8, "classes": 2},
            {"dataset": "bags", "images": 9, "classes": 2},
        ],
        "root": str(folder),
        "images": 17,
        "classes": 3,
        "unknown_images": 0,
        "shared_labels": 1,
        "shared_images": 1,
        "notes": [
            "1 label is in more than one dataset ('007'): one class each",
            "1 image is in more than one dataset (the first: 'bags/007/same.png' and 'shoes/007/0.png')",
        ],
        "written": [f"{out}/dataset_merged.csv"],
    }
    sidecar = read_sidecar(out / "dataset_merged.csv")
    assert sidecar is not None
    assert [Path(used["path"]).name for used in sidecar.inputs] == ["dataset_info.csv", "dataset_info.csv"]
    filtered = eml(capsys, "filter", out, "--dedup", "--scope", "dataset")
    assert filtered["table"] == f"{out}/dataset_merged.csv"
    assert filtered["removed"] == {"duplicate": 1}
    assert eml(capsys, "split", out, "--by", "alternate")["table"] == f"{out}/dataset_info_filtered.csv"
    assert eml(capsys, "kfold", out, "--k", 2)["table"] == f"{out}/dataset_train.csv"
    assert set(read_table(out / "folds.csv", check_files=True).frame["dataset"]) == {"shoes", "bags"}


def test_the_merged_table_is_out_of_date_when_a_dataset_has_changed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shoes, out = folder / "shoes", folder / "all"
    eml(capsys, "merge", shoes, folder / "bags", "--out", out)
    eml(capsys, "split", out, "--by", "alternate")
    shutil.copy(shoes / "007" / "1.png", shoes / "boot" / "new.png")
    told = f"{shoes}/dataset_info.csv: is out of date: since the scan, 1 new (the first: 'boot/new.png')"
    assert refused(capsys, "split", out, "--by", "alternate") == [f"{told}. Run: eml scan {shoes}"]
    eml(capsys, "scan", shoes)
    assert refused(capsys, "split", out, "--by", "alternate") == [
        f"{out}/dataset_merged.csv: is out of date: {shoes}/dataset_info.csv was changed after dataset_merged.csv was "
        "made from it. To use dataset_merged.csv as it is, give a copy of it with another name; else run: "
        f"eml merge {shoes} {folder / 'bags'} --out {out} --json"
    ]
    eml(capsys, "merge", shoes, folder / "bags", "--out", out)
    assert eml(capsys, "split", out, "--by", "alternate")["train"]["images"] == 4 + 5


def test_tables_with_names_and_roots_of_their_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "lists").mkdir()
    one, two = folder / "lists" / "one.csv", folder / "lists" / "two.csv"
    one.write_text("label,file_name\nx,007/0.png\nx,boot/1.png\n")
    two.write_text("label,file_name\nx,sack/0.png\n")
    roots = ["--root", f"s={folder}/shoes", "--root", f"two={folder}/bags"]
    merged = eml(capsys, "merge", f"s={one}", two, *roots, "--out", folder / "all.parquet")
    assert merged["written"] == [f"{folder}/all.parquet"]
    table = read_table(folder / "all.parquet", check_files=True)
    assert table.frame["label"].tolist() == ["s:x", "s:x", "two:x"]
    assert table.frame["file_name"].tolist() == ["shoes/007/0.png", "shoes/boot/1.png", "bags/sack/0.png"]


def test_what_cannot_be_merged_is_told_and_nothing_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shoes, bags = folder / "shoes", folder / "bags"
    assert refused(capsys, "merge", shoes, "--out", folder / "x", "--root", "one", "--root", f"b={bags}") == [
        "--root must be NAME=FOLDER, got one",
        f"--root b={bags}: no dataset is called b; known: shoes",
        "a merge needs two datasets or more: eml merge A B --out FOLDER",
    ]
    same = "each dataset needs a different name, and these are called 'shoes'"
    assert refused(capsys, "merge", shoes, shoes, "--out", folder / "x")[0].startswith(f"{shoes}, {shoes}: {same}")
    assert not (shoes / "dataset_info.csv").exists()  # told before the scan
    assert refused(capsys, "merge", shoes, bags, "--out", folder / "mg.txt") == [
        f"{folder}/mg.txt: --out is a folder for the table, or the table (NAME.csv or NAME.parquet); no folder is made "
        "with .txt at its end"
    ]
    (folder / "mine").mkdir()
    (folder / "mine" / "dataset_merged.csv").write_text("precious")
    assert refused(capsys, "merge", shoes, bags, "--out", folder / "mine") == [
        f"{folder}/mine/dataset_merged.csv: exists and was not written by eml. Set --overwrite to replace it, or "
        "give another --out"
    ]
    assert refused(capsys, "merge", shoes, bags, "--out", shoes)[-1] == (
        f"{shoes}: holds dataset_info.csv of a dataset, which later commands would read as the merged one. "
        "Give another folder as --out"
    )
    assert not (shoes / "dataset_merged.csv").exists()
    assert not (folder / "x").exists()
