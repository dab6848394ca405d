"""Tables of open-metric-learning are read as ours, and what does not fit is told in their own words."""

from pathlib import Path

import pytest

from eml.dataset.pipeline import resolve
from eml.dataset.splits.split import split_by_column
from eml.dataset.table import read_table, write_table
from eml.errors import DataError

SHORT = "label,path,split,is_query,is_gallery"
HEADER = f"{SHORT},category,x_1,x_2,y_1,y_2\n"
ROWS = "3,a/1.jpg,train,,,hat,0,5,1,4\n3,a/2.jpg,train,,,hat,,,,\n12,b/1.jpg,validation,True,0,cap,,,,\n"


def oml(folder: Path, rows: str = ROWS, header: str = HEADER) -> Path:
    for name in ("a/1.jpg", "a/2.jpg", "b/1.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "df.csv").write_text(header + rows)
    return folder / "df.csv"


def problems(path: Path, root: Path | None = None) -> list[str]:
    with pytest.raises(DataError) as error:
        read_table(path, root, check_files=True)
    return error.value.problems


def test_it_is_read_as_a_table_of_ours_and_a_line_says_so(tmp_path: Path) -> None:
    lines: list[str] = []
    frame = resolve(oml(tmp_path), "train", report=lines.append).frame
    assert frame["file_name"].tolist() == ["a/1.jpg", "a/2.jpg", "b/1.jpg"]
    assert frame["label"].tolist() == ["3", "3", "12"]
    assert frame["split"].tolist() == ["train", "train", "test"]
    assert frame["fold"].tolist() == [-1, -1, -2]
    assert frame[["x_1", "y_1", "x_2", "y_2"]].iloc[0].tolist() == [0, 1, 5, 4]  # not in the order of the header
    assert frame["x_1"].isna().tolist() == [False, True, True]
    assert frame["is_query"].fillna(False).tolist() == [False, False, True]
    assert frame["category"].tolist() == ["hat", "hat", "cap"]
    assert lines == [
        f"{tmp_path}/df.csv: has open-metric-learning's columns: path is read as file_name, split 'validation' as "
        "'test' with fold -2, never trained on"
    ]


def test_its_validation_is_the_test_of_a_split_and_the_result_is_a_table_of_ours(tmp_path: Path) -> None:
    sides = split_by_column(read_table(oml(tmp_path)), "split")
    assert sides.train["label"].unique().tolist() == ["3"]
    assert sides.test["label"].tolist() == ["12"]
    write_table(sides.test, tmp_path / "test.csv", command="eml split", root=tmp_path)
    assert read_table(tmp_path / "test.csv").notes == ()


def test_absolute_paths_under_the_root_become_relative(tmp_path: Path) -> None:
    there, rows = tmp_path / "images", ROWS.replace(",a/1", f",{tmp_path}/images//a/./1")
    path = oml(there, rows)
    assert read_table(path, check_files=True).frame["file_name"].tolist() == ["a/1.jpg", "a/2.jpg", "b/1.jpg"]
    (tmp_path / "link").symlink_to(there)
    assert read_table(path, tmp_path / "link").frame["file_name"][0] == "a/1.jpg"
    assert read_table(tmp_path / "link" / "df.csv", tmp_path).frame["file_name"][0] == "images/a/1.jpg"


def test_absolute_paths_elsewhere_are_reported_with_the_folder_that_would_do(tmp_path: Path) -> None:
    path = oml(tmp_path / "p", "1,/data/x/c/1.jpg,train,,\n1,/data/x/b/2.jpg,train,,\n", SHORT + "\n")
    assert problems(path) == [
        f"{path}: none of its 2 absolute paths is under {tmp_path}/p (the first: '/data/x/c/1.jpg'). Give the folder "
        "that holds them, such as /data/x, as `root`"
    ]
    path.write_text(path.read_text() + f"1,{tmp_path}/p/a/1.jpg,train,,\n")
    assert problems(path) == [
        f"{path}:{line}: path must stay under the root: relative and without '..', got '/data/x/{name}'"
        for line, name in ((2, "c/1.jpg"), (3, "b/2.jpg"))
    ]


def test_what_does_not_fit_is_reported_with_its_line(tmp_path: Path) -> None:
    rows = "1,a/1.jpg,val,,,\n1,a/2.jpg,train,1,,\n2,../b/1.jpg,validation,maybe,1,\n2,,validation,1,1,\n"
    path = oml(tmp_path, rows, SHORT + ",category" + "\n")
    assert problems(path) == [
        f"{path}:2: split must be 'train' or 'validation', got 'val'",
        f"{path}:3: is_query must be blank where split is 'train'",
        f"{path}:4: is_query must be True, False or blank, got 'maybe'",
        f"{path}:4: path must stay under the root: relative and without '..', got '../b/1.jpg'",
        f"{path}:5: path is empty",
    ]


def test_a_table_with_file_name_is_ours_whatever_else_it_has(tmp_path: Path) -> None:
    path = oml(tmp_path, "1,a/1.jpg,validation,,,a/1.jpg\n", SHORT + ",file_name\n")
    frame = read_table(path).frame
    assert frame["split"].tolist() == ["validation"]
    assert "fold" not in frame
