"""A folder of packed files gives the table of the folder that they were made of, but for the names of the files."""

import json
import tarfile
import warnings
from pathlib import Path

import pandas as pd
import pytest

from eml.dataset.scanning import packed_listing
from eml.dataset.scanning.packed_listing import split_of
from eml.dataset.scanning.scan import FolderScan, scan_folder
from eml.errors import DataError
from eml.images.packed import tar_file
from tests.packed_files import arrow_table, jpeg, write_arrow, write_files, write_parquet, write_tar

FILES = {f"{label}/{number}.jpg": jpeg(40 * number + ord(label[0])) for label in ("cat", "dog") for number in range(3)}


def without_names(scan: FolderScan) -> pd.DataFrame:
    return scan.table.drop(columns="file_name")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> FolderScan:
    return scan_folder(write_files(tmp_path_factory.mktemp("folder"), FILES), workers=1)


def test_tar_files_of_class_folders_give_the_folders_table(tmp_path: Path, folder: FolderScan) -> None:
    rows = list(FILES.items())
    write_tar(tmp_path / "a-0.tar", rows[:4])
    write_tar(tmp_path / "a-1.tar", rows[4:])
    scan = scan_folder(tmp_path, workers=1, table_path=tmp_path / "dataset_info.csv")
    assert scan.table["file_name"].tolist() == [f"a-{number // 4}.tar/{name}" for number, name in enumerate(FILES)]
    pd.testing.assert_frame_equal(without_names(scan), without_names(folder))
    assert (scan.errors.empty, scan.warnings) == (True, [])


def test_webdataset_parquet_and_arrow_give_the_folders_table_too(tmp_path: Path, folder: FolderScan) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    rows = [(f"{number}", name.partition("/")[0], data) for number, (name, data) in enumerate(FILES.items())]
    table = arrow_table([(None, data) for *_, data in rows], ["cat", "dog"], label=[0, 0, 0, 1, 1, 1])
    members = [own for key, label, data in rows for own in ((f"{key}.jpg", data), (f"{key}.cls", label.encode()))]
    write_tar(tmp_path / "w" / "shard-0.tar", members)
    write_parquet(tmp_path / "p" / "data" / "train-00000-of-00001.parquet", table)
    (tmp_path / "p" / "README.md").write_text("---\n")
    write_arrow(tmp_path / "h" / "data-00000-of-00001.arrow", table)
    (tmp_path / "h" / "state.json").write_text("{}")
    for name in "wph":
        scan = scan_folder(tmp_path / name, workers=1)
        pd.testing.assert_frame_equal(without_names(scan), without_names(folder))
        assert (scan.errors.empty, scan.warnings) == (True, [])


def test_splits_and_columns_of_packed_files_are_kept(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    images = [(None, jpeg(number)) for number in range(4)]
    train = arrow_table(images[:2], label=["a", "b"], camera=[1, None])
    write_parquet(tmp_path / "data" / "train-00000-of-00001.parquet", train)
    write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", arrow_table(images[2:], label=["a", "b"]))
    table = scan_folder(tmp_path, workers=1).table
    assert table["split"].tolist() == ["test", "test", "train", "train"]
    assert table["camera"].astype(object).where(table["camera"].notna(), None).tolist() == [None, None, 1, None]
    assert table["camera"].dtype == "Int64"


@pytest.mark.parametrize(
    "name, split",
    [
        ("data/train-00000-of-00010.parquet", "train"),
        ("test.parquet", "test"),
        ("train/data-00000-of-00001.arrow", "train"),
        ("my_validation-1.tar", "validation"),
        ("training_day.tar", "training"),
        ("trains.tar", ""),
        ("contest-0.tar", ""),
    ],
)
def test_a_split_is_a_word_of_the_name(name: str, split: str) -> None:
    assert split_of(name) == split


def test_what_cannot_be_used_is_listed_by_image(tmp_path: Path) -> None:
    link = tarfile.TarInfo("cat/link.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "1.jpg"
    members = [
        *(("cat/1.jpg", jpeg(1)), ("cat/broken.jpg", jpeg(2)[:80]), ("cat/notes.txt", b"hello"), ("../up.jpg", b"")),
        *(
            (link, b""),
            ("loose.jpg", jpeg(3)),
            ("cat/.hidden.jpg", b"x"),
            ("dog/2.jpg", jpeg(4)),
            ("dog/3.jpg", jpeg(5)),
        ),
    ]
    path = write_tar(tmp_path / "a.tar", members)
    path.write_bytes(path.read_bytes()[: -tarfile.RECORDSIZE + 5200])
    whole = path.read_bytes()
    last = whole.rindex(b"dog/3.jpg")
    path.write_bytes(whole[: last + 600])
    scan = scan_folder(tmp_path, workers=1)
    assert scan.table["file_name"].tolist() == ["a.tar/cat/1.jpg", "a.tar/dog/2.jpg"]
    assert scan.errors[["file_name", "reason"]].to_numpy().tolist() == [
        ["a.tar", "truncated"],
        ["a.tar/../up.jpg", "unusable_name"],
        ["a.tar/cat/broken.jpg", "truncated"],
        ["a.tar/cat/link.jpg", "not_an_image"],
        ["a.tar/cat/notes.txt", "not_an_image"],
        ["a.tar/dog/3.jpg", "truncated"],
        ["a.tar/loose.jpg", "not_in_a_class"],
    ]


def test_columns_that_a_stranger_makes_by_the_thousand_are_bounded_and_added_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = [(f"{number}.jpg", jpeg(number)) for number in range(4)]
    for number in range(4):
        own = {"label": "abcd"[number], **{f"{number}_{key}": key for key in range(60)}}
        members.append((f"{number}.json", json.dumps(own).encode()))
    write_tar(tmp_path / "a.tar", members)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of pandas, which says when columns are added one by one
        assert {"0_0", "3_59"} <= set(scan_folder(tmp_path, hashes=False).table.columns)
    monkeypatch.setattr(tar_file, "MOST_COLUMNS", 150)
    monkeypatch.setattr(packed_listing, "MOST_COLUMNS", 100)
    scan = scan_folder(tmp_path, hashes=False)
    assert sum("_" in name and name[0].isdigit() for name in scan.table.columns) == 100
    assert len(scan.table) == 4
    assert sorted(scan.errors["detail"]) == [
        "its .json files name 240 columns; 150 are read, and not '2_30', '2_31', '2_32' …",
        "packed files add at most 100 columns to a table; of this one 50 are left out: '1_40', '1_41', '1_42' …",
    ]


def test_a_long_label_is_listed_and_a_long_text_of_another_column_cut(tmp_path: Path) -> None:
    members = [(f"{number}.jpg", jpeg(number)) for number in range(3)]
    for number, label in enumerate(["a", "b" * 1_001, "c"]):
        own = {"label": label, "caption": "x" * 5_000 + "y" * (number == 2), "split": "s" * 1_001}
        members.append((f"{number}.json", json.dumps(own).encode()))
    write_tar(tmp_path / "a.tar", members)
    scan = scan_folder(tmp_path, hashes=False)
    assert scan.table["caption"].tolist() == ["x" * 5_000] * 2
    assert scan.table["split"].str.len().tolist() == [1_000] * 2
    assert scan.errors.to_numpy().tolist() == [
        ["a.tar", "too_large", "its column 'caption' has 1 texts of more than 5,000 characters, which are cut there"],
        ["a.tar", "too_large", "its column 'split' has 3 texts of more than 1,000 characters, which are cut there"],
        ["a.tar/1.jpg", "not_in_a_class", "its label has 1,001 characters; at most 1,000 are a name"],
    ]


def test_a_packed_file_of_a_class_folder_takes_its_class(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        write_tar(tmp_path / label / "images.tar", [(f"{number}.jpg", jpeg(number)) for number in range(2)])
    table = scan_folder(tmp_path, workers=1).table
    assert table["label"].tolist() == ["cat", "cat", "dog", "dog"]


def test_files_that_are_no_packed_files_stay_what_they_were(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.jpg").write_bytes(jpeg(1))
    (tmp_path / "cat" / "x.tar").write_bytes(b"\x1f\x8b something")
    scan = scan_folder(tmp_path, workers=1)
    assert scan.table["file_name"].tolist() == ["cat/1.jpg"]
    assert scan.errors.to_numpy().tolist() == [["cat/x.tar", "unreadable", "it is no tar file"]]


def test_packed_files_that_the_list_of_a_pack_names_are_missed(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "data" / "a.tar", list(FILES.items()))
    size = path.stat().st_size
    files = {"data/a.tar": {"bytes": size + 1}, "data/b.tar": {"bytes": 5}, "../x.tar": {"bytes": 5}}
    (tmp_path / "eml-pack.json").write_text(json.dumps({"files": files}))
    errors = scan_folder(tmp_path, workers=1).errors
    assert errors[["file_name", "reason"]].to_numpy().tolist() == [
        ["data/a.tar", "truncated"],
        ["data/b.tar", "missing"],
    ]


def test_a_scan_reads_only_packed_files_that_changed_again(tmp_path: Path) -> None:
    import os

    for number in range(2):
        path = write_tar(tmp_path / "d" / f"{number}.tar", list(FILES.items()))
        os.utime(path, (1_600_000_000, 1_600_000_000))
    table = tmp_path / "dataset_info.csv"
    assert scan_folder(tmp_path / "d", workers=1, table_path=table).cached_files == 0
    assert scan_folder(tmp_path / "d", workers=1, table_path=table).cached_files == 12
    os.utime(tmp_path / "d" / "1.tar", (1_600_000_001, 1_600_000_001))
    assert scan_folder(tmp_path / "d", workers=1, table_path=table).cached_files == 6


def test_a_folder_of_packed_files_without_images_is_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [])
    with pytest.raises(DataError):
        scan_folder(tmp_path, workers=1)


def test_a_folder_of_files_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.tar": b"no tar file" * 90})
    with pytest.raises(
        DataError, match=r"no file in it is a usable image: unreadable 1\. The first:\n.*a\.tar: it is no tar"
    ):
        scan_folder(tmp_path)
