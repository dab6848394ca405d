"""kfold, split and audit together: what looks alike, or has one camera, stays on one side, and the audit says so."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from eml.cli.app import main
from eml.dataset.table import read_table

pytestmark = pytest.mark.slow


def noise(random: np.random.Generator) -> Image.Image:
    return Image.fromarray(random.integers(0, 255, (8, 8), dtype=np.uint8)).resize((48, 48))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 classes of 8 different images; 2 more of a: nearly its first; 1 more of b: c's first, the same file."""
    root = tmp_path_factory.mktemp("drawn") / "images"
    random = np.random.default_rng(0)
    for label in "abcd":
        (root / label).mkdir(parents=True)
        for n in range(8):
            noise(random).save(root / label / f"{n}.png")
    first = Image.open(root / "a" / "0.png")
    first.resize((40, 40)).save(root / "a" / "again.png")
    first.save(root / "a" / "again.jpg", quality=60)
    shutil.copy(root / "c" / "0.png", root / "b" / "c.png")
    assert main(["scan", str(root)]) == 0
    return root


@pytest.fixture
def folder(drawn: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(drawn, tmp_path / "images"))


def eml(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*map(str, arguments), "--json"]) == code
    return dict(json.loads(capsys.readouterr().out))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    capsys.readouterr()
    assert main(list(map(str, arguments))) == 2
    return capsys.readouterr().err.strip()


def test_folds_are_clean_and_plain_ones_are_not(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = eml(capsys, "kfold", folder, "--k", 4)
    assert (made["groups"]["of_several"], made["groups"]["images"], made["groups"]["largest"]) == (2, 5, 3)
    assert eml(capsys, "audit", folder, "--strict")["clean"] is True
    assert main(["audit", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "on more than one side: 4 classes: a, b, c, d (expected, so not counted)" in out
    assert out.endswith("clean: nothing that was compared is on more than one side\n")
    eml(capsys, "kfold", folder / "dataset_info.csv", "--k", 4, "--no-near")
    found = eml(capsys, "audit", folder, "--strict", "--out", folder / "pairs.csv", code=1)
    pairs = pd.read_csv(folder / "pairs.csv")
    assert found["pairs"] == len(pairs) > 0
    assert {frozenset(pair) for pair in pairs[["file_name", "other_file_name"]].to_numpy().tolist()} <= {
        frozenset({"b/c.png", "c/0.png"}),
        *(frozenset(pair) for pair in (["a/0.png", "a/again.jpg"], ["a/0.png", "a/again.png"])),
        frozenset({"a/again.jpg", "a/again.png"}),
    }
    assert eml(capsys, "audit", folder)["clean"] is False  # only told, without --strict


@pytest.mark.wide
def test_a_split_by_ratio_keeps_classes_with_a_common_image_together(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = [folder / "dataset_train.csv", folder / "dataset_test.csv"]
    for seed in range(4):
        made = eml(capsys, "split", folder, "--by", "ratio", "--test-ratio", 0.5, "--random-seed", seed)
        assert made["on_both_sides"]["groups"] == 0
        assert eml(capsys, "audit", *both, "--strict")["clean"] is True
    made = eml(capsys, "split", folder / "dataset_info.csv", "--by", "alternate")  # b and d are the test
    told = {"groups": 1, "train_images": 1, "test_images": 1, "test_classes": ["b"]}
    assert made["on_both_sides"] == told
    found = eml(capsys, "audit", *both, "--strict", code=1)
    assert (found["pairs"], found["pairs_of_same_content"], found["shared_classes"]) == (1, 1, [])
    assert main(["split", str(folder / "dataset_info.csv"), "--by", "alternate"]) == 0
    err = capsys.readouterr().err
    assert "1 images to train on and 1 of the test look alike (1 group, 1 test class: b)" in err
    assert f"eml filter {folder}/dataset_info.csv --dedup --scope dataset" in err


def test_images_of_one_camera_stay_together_and_the_audit_names_cameras_that_do_not(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(folder / "dataset_info.csv", dtype=str)
    table["camera"] = [f"cam{n % 6}" for n in range(len(table))]
    table.to_csv(folder / "mine.csv", index=False)
    eml(capsys, "kfold", folder / "mine.csv", "--k", 3, "--group-by", "camera", "--no-near")
    folds = read_table(folder / "folds.csv").frame
    assert (folds.groupby("camera")["fold"].nunique() == 1).all()
    assert eml(capsys, "audit", folder, "--group-by", "camera")["shared_values"] == {"camera": []}
    eml(capsys, "kfold", folder / "mine.csv", "--k", 3)
    found = eml(capsys, "audit", folder, "--group-by", "camera", "--strict", code=1)
    assert found["shared_values"]["camera"] == sorted(set(table["camera"]))
    assert (found["pairs"], found["clean"]) == (0, False)
    assert "--group-by: no column 'cam'" in refused(capsys, "kfold", folder / "mine.csv", "--group-by", "cam")


def test_the_audit_looks_as_near_as_the_folds_did(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert eml(capsys, "kfold", folder, "--k", 4, "--threshold", 0)["groups"]["threshold"] == 0
    assert eml(capsys, "audit", folder)["threshold"] == 0
    assert eml(capsys, "audit", folder, "--threshold", 8)["threshold"] == 8
    assert main(["audit", str(folder)]) == 0
    assert (
        "comparing within 0 bits, as in the command that made the table; set --threshold to change it"
        in capsys.readouterr().err
    )
    eml(capsys, "kfold", folder / "dataset_info.csv", "--k", 4, "--no-near")
    assert eml(capsys, "audit", folder)["threshold"] == 6


def test_query_and_gallery_are_marked_in_the_test_table_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = eml(capsys, "split", folder, "--by", "ratio", "--test-ratio", 0.5, "--query-gallery", "--query-share", 0.3)
    test = read_table(folder / "dataset_test.csv").frame
    assert "is_query" not in read_table(folder / "dataset_train.csv").frame
    assert made["protocol"]["queries"] == test["is_query"].sum()
    assert (test["is_query"] ^ test["is_gallery"]).all()
    one = eml(capsys, "split", folder / "dataset_info.csv", "--by", "alternate", "--query-gallery", "--random-seed", 3)
    assert one["protocol"]["queries"] == 2
    assert refused(capsys, "split", folder, "--query-share", "0.3") == "--query-share: only with --query-gallery"
    assert "--random-seed goes with --by ratio" in refused(capsys, "split", folder, "--random-seed", "3")


def test_shared_classes_are_a_finding_unless_they_are_meant(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pd.read_csv(folder / "dataset_info.csv", dtype=str)
    for name, part in (("one", table.iloc[::2]), ("two", table.iloc[1::2])):
        part[~part["file_name"].isin(["a/again.png", "a/again.jpg", "b/c.png"])].to_csv(folder / f"{name}.csv")
    both = [folder / "one.csv", folder / "two.csv"]
    assert eml(capsys, "audit", *both, "--strict", code=1)["shared_classes"] == ["a", "b", "c", "d"]
    assert eml(capsys, "audit", *both, "--strict", "--same-classes")["clean"] is True
    assert refused(capsys, "audit", both[0], "--same-classes") == "--same-classes: only with two tables"


def test_a_check_that_cannot_see_is_no_yes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pd.read_csv(folder / "dataset_info.csv", dtype=str).drop(columns="hash")
    table.assign(fold=0).to_csv(folder / "one.csv", index=False)
    table.iloc[:3].to_csv(folder / "two.csv", index=False)
    assert main(["audit", str(folder / "one.csv"), str(folder / "two.csv"), "--same-classes"]) == 0
    assert "has no column 'hash', so only images of equal content count as look-alikes" in capsys.readouterr().err
    told = refused(capsys, "audit", folder / "one.csv", folder / "two.csv", "--strict")
    assert "--strict: cannot tell: " in told
    assert "there is no second fold to compare with" in refused(capsys, "audit", folder / "one.csv")


def test_the_audit_writes_over_nothing_of_the_users(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    eml(capsys, "kfold", folder, "--k", 4)
    (folder / "pairs.csv").write_text("mine")
    assert "was not written by eml" in refused(capsys, "audit", folder, "--out", folder / "pairs.csv")
    assert (folder / "pairs.csv").read_text() == "mine"
    assert "would be overwritten" in refused(capsys, "audit", folder, "--out", folder / "folds.csv", "--overwrite")
    assert refused(capsys, "audit", folder, "--out", "pairs.txt").startswith("--out must end in")
    told = refused(capsys, "kfold", folder, "--no-near", "--threshold", "4")
    assert told == "--threshold has no effect with --no-near; leave one of them out"
