"""Given a folder, a step reads the table furthest along the way, and refuses one that is out of date."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from eml.dataset import pipeline
from eml.dataset.pipeline import resolve
from eml.dataset.table import Table, read_table, write_table
from eml.errors import DataError

AS_IT_IS = "To use dataset_train.csv as it is, give a copy of it with another name"


def image(root: Path, name: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (len(name) * 9, 7, 7)).save(root / name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        image(tmp_path, f"images/{name}")
    (tmp_path / "images" / "b" / "broken.jpg").write_bytes(b"no image")
    return tmp_path / "images"


def step(table: Table, name: str, command: str, folder: Path | None = None) -> Path:
    """What the command leaves, without its work."""
    path = (folder or table.source.parent) / name
    write_table(table.frame, path, command=command, root=table.root, inputs=[table.source])
    return path


def problem(call: Callable[[], Table]) -> str:
    with pytest.raises(DataError) as error:
        call()
    return str(error.value)


def test_a_folder_without_a_table_is_scanned_first(folder: Path) -> None:
    lines: list[str] = []
    table = resolve(folder, "filter", report=lines.append)
    assert table.frame["file_name"].tolist() == ["a/1.png", "a/2.png", "b/1.png"]
    assert table.path == folder / "dataset_info.csv"
    assert lines[0] == f"no table in {folder}: scanning it"
    assert f"warning: files that cannot be used: 1, see {folder}/dataset_errors.csv" in lines
    assert lines[-1] == f"table: {folder}/dataset_info.csv"
    lines.clear()
    assert resolve(folder, "split", report=lines.append).frame.equals(table.frame)
    assert lines == [f"table: {folder}/dataset_info.csv"]


def test_a_folder_that_is_not_to_be_written_into_is_scanned_into_out(folder: Path, tmp_path: Path) -> None:
    table = resolve(folder, "split", out=tmp_path / "out")
    assert table.path == tmp_path / "out" / "dataset_info.csv"
    assert table.root == folder
    assert not (folder / "dataset_info.csv").exists()
    lines: list[str] = []
    resolve(folder, "split", out=tmp_path / "out", report=lines.append)
    assert lines == [f"table: {tmp_path}/out/dataset_info.csv"]
    image(tmp_path, "other/c/1.png")  # its table in out is of another folder
    lines.clear()
    other = resolve(tmp_path / "other", "split", out=tmp_path / "out", report=lines.append)
    assert other.frame["label"].tolist() == ["c"]


def test_the_table_furthest_along_the_way_is_read(folder: Path) -> None:
    info = resolve(folder, "filter")
    filtered = step(info, "dataset_info_filtered.csv", "eml filter")
    assert resolve(folder, "filter").path == info.path
    assert resolve(folder, "split").path == filtered
    train = step(read_table(filtered), "dataset_train.csv", "eml split")
    assert resolve(folder, "kfold").path == train
    folds = step(read_table(train), "folds.csv", "eml kfold")
    assert resolve(folder, "kfold").path == train
    assert resolve(folder, "train").path == resolve(folder, "init").path == folds
    assert resolve(train, "filter").path == train


def test_a_table_whose_source_has_changed_is_refused(folder: Path) -> None:
    info = resolve(folder, "filter")
    filtered = step(info, "dataset_info_filtered.csv", "eml filter")
    train = step(read_table(filtered), "dataset_train.csv", "eml split")
    fewer = Table(info.frame.iloc[:2], info.root, info.path)
    step(fewer, "dataset_info_filtered.csv", "eml filter")
    assert problem(lambda: resolve(folder, "kfold")) == (
        f"{train}: is out of date: {filtered} was changed after dataset_train.csv was made from it. "
        f"{AS_IT_IS}; else run eml split again"
    )
    assert problem(lambda: resolve(train, "kfold")) == problem(lambda: resolve(folder, "kfold"))  # named or not
    shutil.copy(train, folder / "mine.csv")
    assert resolve(folder / "mine.csv", "kfold").path == folder / "mine.csv"
    lines: list[str] = []
    assert resolve(train, "train", accept_stale=True, report=lines.append).path == train
    assert lines == [f"warning: {problem(lambda: resolve(train, 'kfold'))}"]


def test_a_newer_table_that_was_passed_by_is_not_overlooked(folder: Path) -> None:
    info = resolve(folder, "filter")
    train = step(info, "dataset_train.csv", "eml split")
    assert resolve(folder, "kfold").path == train
    step(info, "dataset_info_filtered.csv", "eml filter")
    assert problem(lambda: resolve(folder, "kfold")) == (
        f"{train}: is out of date: dataset_info_filtered.csv is newer and was not used for it. "
        f"{AS_IT_IS}; else run eml split again"
    )


def test_files_that_came_or_went_since_the_scan_are_reported(folder: Path) -> None:
    info = resolve(folder, "filter")
    train = step(info, "dataset_train.csv", "eml split")
    image(folder, "c/new.png")
    (folder / "a" / "2.png").unlink()
    message = (
        f"{folder}/dataset_info.csv: is out of date: since the scan, 1 new (the first: 'c/new.png') and 1 missing "
        f"(the first: 'a/2.png'). Run: eml scan {folder}"
    )
    assert problem(lambda: resolve(folder, "filter")) == message
    assert problem(lambda: resolve(folder, "kfold")) == message
    assert problem(lambda: resolve(train, "kfold")) == f"{train}:3: no such image under {folder}: 'a/2.png'"


def test_files_that_changed_in_place_since_the_scan_are_reported(folder: Path) -> None:
    info = resolve(folder, "filter")
    train = step(info, "dataset_train.csv", "eml split")
    Image.new("RGB", (99, 80), (1, 2, 3)).save(folder / "a" / "2.png")
    message = f"{folder}/dataset_info.csv: is out of date: since the scan, 1 changed (the first: 'a/2.png'). "
    assert problem(lambda: resolve(folder, "filter")) == f"{message}Run: eml scan {folder}"
    assert problem(lambda: resolve(folder, "kfold")) == f"{message}Run: eml scan {folder}"
    assert resolve(train, "kfold").path == train, "which is given by its name"
    image(folder, "c/new.png")
    (folder / "a" / "1.png").unlink()
    assert "1 new (the first: 'c/new.png'), 1 missing (the first: 'a/1.png') and 1 changed" in problem(
        lambda: resolve(folder, "filter")
    )


def test_times_do_not_make_a_copied_data_set_out_of_date(folder: Path) -> None:
    resolve(folder, "filter")
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (2**31, 2**31) if path.is_dir() else None)
    resolve(folder, "split")


def test_a_users_own_table_in_the_folder_is_read(folder: Path) -> None:
    (folder / "dataset_info.csv").write_text("label,file_name\n007,a/1.png\n")
    assert resolve(folder, "filter").frame["label"].tolist() == ["007"]


def test_what_is_not_there_and_a_root_for_a_folder_are_reported(folder: Path) -> None:
    assert problem(lambda: resolve(folder / "none", "filter")) == f"{folder}/none: no such file or folder"
    message = problem(lambda: resolve(folder, "filter", folder))
    assert message == f"`root` goes with a table, and {folder} is a folder"


def test_files_that_a_scan_table_edited_by_hand_leaves_out_are_reported(folder: Path) -> None:
    info = resolve(folder, "filter").source
    info.write_text(info.read_text().partition("b,b/1.png")[0])
    lines: list[str] = []
    for _ in range(2):
        assert resolve(folder, "split", report=lines.append).frame["file_name"].tolist() == ["a/1.png", "a/2.png"]
        told = f"{info} was edited by hand and leaves out files of its folder: 1 (the first: 'b/1.png')"
        assert lines == [told, f"table: {info}"]
        lines.clear()
        step(read_table(info), "dataset_test.csv", "eml split")
    assert pipeline.test_table(folder, lines.append) == folder / "dataset_test.csv"
    assert lines == [told]
    (folder / "a" / "2.png").unlink()
    assert problem(lambda: resolve(folder, "filter")) == (
        f"{info}: is out of date: it was edited by hand, and since the scan, 1 missing (the first: 'a/2.png'). Take "
        f"their rows out of it; or to replace the edited table, run: eml scan {folder} --overwrite"
    )
    assert problem(lambda: resolve(folder, "filter", class_level=2)).startswith(f"{info}: is out of date")
    image(folder, "a/2.png")
    assert problem(lambda: resolve(folder, "filter", class_level=2)).endswith(
        f". Scan the folder again, and replace the table that was edited by hand: eml scan {folder} --class-level 2 "
        "--overwrite"
    )
