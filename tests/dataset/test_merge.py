"""Several tables become one without losing a row, a label's meaning, or what was set aside for the test."""

import unicodedata
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eml.dataset.columns import ALWAYS_TEST, ALWAYS_TRAIN
from eml.dataset.merge import MARK, MergeSource, merge_sources, merge_tables
from eml.dataset.merged_labels import Labels
from eml.dataset.table import Table, read_table, write_table
from eml.errors import DataError
from tests.examples import examples

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=6)
names_of_classes = texts.map(lambda text: unicodedata.normalize("NFC", text))  # as tables write them


def table(root: Path, labels: str = "ab", **columns: list[Any]) -> Table:
    """A row for each label, named 0.jpg, 1.jpg, …"""
    names = [f"{number}.jpg" for number in range(len(labels))]
    return Table(pd.DataFrame({"label": list(labels), "file_name": names, **columns}), root)


def on_disk(root: Path, text: str, name: str = "t.csv") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)
    for line in text.splitlines()[1:]:
        (root / line.split(",")[1]).parent.mkdir(parents=True, exist_ok=True)
        (root / line.split(",")[1]).touch()
    return root / name


def problems(*sources: MergeSource, labels: Labels = "apart") -> list[str]:
    with pytest.raises(DataError) as error:
        merge_sources(sources, labels, step="train")
    return error.value.problems


@settings(max_examples=examples(60), deadline=None)
@given(
    st.lists(st.lists(st.tuples(names_of_classes, texts), min_size=1, max_size=4), min_size=1, max_size=4),
    st.sampled_from(["apart", "merged"]),
    st.sampled_from(["all.csv", "all.parquet"]),
)
def test_every_row_survives_a_merge_and_a_round_trip(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[tuple[str, str]]], labels: Labels, name: str
) -> None:
    folder = tmp_path_factory.mktemp("merge")
    tables = {}
    for number, of_one in enumerate(rows):
        frame = pd.DataFrame(
            {"label": [label for label, _ in of_one], "file_name": [f"{n}" for n in range(len(of_one))]}
        )
        if number % 2 == 0:
            frame["note"] = [note for _, note in of_one]
        tables[f"n{number}"] = Table(frame, folder / f"d {number}")
    merged = merge_tables(tables, labels).table
    write_table(merged.frame, folder / name, command="eml merge", root=merged.root)
    read = read_table(folder / name)
    assert read.frame.to_dict("list") == merged.frame.to_dict("list")
    result = read.frame.to_dict("list")
    flat = [(number, n, *row) for number, of_one in enumerate(rows) for n, row in enumerate(of_one)]
    assert result["dataset"] == [f"n{number}" for number, *_ in flat]
    assert [(read.root / path).relative_to(folder).as_posix() for path in result["file_name"]] == [
        f"d {number}/{n}" for number, n, *_ in flat
    ]
    assert result["note"] == [note if number % 2 == 0 else "" for number, _, _, note in flat]
    if labels == "apart":
        assert [label.partition(MARK)[::2] for label in result["label"]] == [
            (f"n{n}", label) for n, _, label, _ in flat
        ]
    else:
        assert result["label"] == [label for _, _, label, _ in flat]


def test_the_root_is_the_deepest_folder_that_holds_all(tmp_path: Path) -> None:
    merged = merge_tables({"a": table(tmp_path / "x" / "a" / "deep"), "b": table(tmp_path / "x" / "b")})
    assert merged.table.root == tmp_path / "x"
    assert merged.table.frame["file_name"].tolist() == ["a/deep/0.jpg", "a/deep/1.jpg", "b/0.jpg", "b/1.jpg"]
    inner = merge_tables({"a": table(tmp_path), "b": table(tmp_path / "b")})
    assert inner.table.root == tmp_path
    assert inner.table.frame["file_name"].tolist() == ["0.jpg", "1.jpg", "b/0.jpg", "b/1.jpg"]


def test_labels_that_several_datasets_have_are_reported_either_way(tmp_path: Path) -> None:
    tables = {"a": table(tmp_path / "a", "xy"), "b": table(tmp_path / "b", "yz")}
    apart, merged = merge_tables(tables), merge_tables(tables, "merged")
    assert apart.shared_labels == merged.shared_labels == ["y"]
    assert apart.table.frame["label"].tolist() == ["a:x", "a:y", "b:y", "b:z"]
    assert merged.table.frame["label"].tolist() == ["x", "y", "y", "z"]
    assert apart.notes[0] == "1 label is in more than one dataset ('y'): kept apart, a class for each dataset"
    assert merged.notes[0] == "1 label is in more than one dataset ('y'): one class each"


def test_an_image_in_two_datasets_is_noticed_by_its_content(tmp_path: Path) -> None:
    tables = {
        "a": table(tmp_path / "a", "xyy", content=["1", "2", "2"]),  # twice in one dataset is not this check's matter
        "b": table(tmp_path / "b", "xz", content=["1", ""]),
        "c": table(tmp_path / "c", "qq", content=["", "1"]),
    }
    merged = merge_tables(tables, "merged")
    assert merged.shared_images.to_dict("list") == {
        "content": ["1", "1", "1"],
        "dataset": ["a", "b", "c"],
        "label": ["x", "x", "q"],
        "file_name": ["a/0.jpg", "b/0.jpg", "c/1.jpg"],
    }
    message = "1 image is in more than one dataset (the first: 'a/0.jpg' and 'b/0.jpg')"
    assert merged.notes[-1] == f"{message}, 1 with different labels"
    assert merge_tables(tables).notes[-1] == f"{message}, and labels kept apart put it into two classes"
    del tables["c"]
    assert merge_tables(tables, "merged").notes[-1] == message


def test_columns_of_which_every_row_has_a_value_are_kept_only_when_all_have_them(tmp_path: Path) -> None:
    a = table(tmp_path / "a", width=[3, 4], fold=[0, 1], split=["train", "test"], shop=["n", ""], price=[1, 2])
    b = table(tmp_path / "b", width=[5, 6], price=["1.50", "x"], dataset=["old", "old"])
    merged = merge_tables({"a": a, "b": b})
    assert list(merged.table.frame.columns) == ["label", "file_name", "width", "shop", "price", "dataset"]
    assert merged.table.frame["width"].tolist() == [3, 4, 5, 6]
    assert merged.table.frame["shop"].tolist() == ["n", "", "", ""]
    assert merged.table.frame["price"].tolist() == ["1", "2", "1.50", "x"]
    assert merged.table.frame["dataset"].tolist() == ["a", "a", "b", "b"]
    assert merged.notes[:2] == [
        "the existing column dataset is replaced by the names of these datasets",
        "columns left out, since b has none: fold, split",
    ]
    both = merge_tables({"a": a, "b": table(tmp_path / "b", fold=[2, -1], split=["test", "train"])}).table.frame
    assert both["fold"].tolist() == [0, 1, 2, -1]
    assert both["split"].tolist() == ["train", "test", "test", "train"]


def test_what_one_dataset_sets_aside_for_the_test_is_never_trained_on(tmp_path: Path) -> None:
    tables = {"a": table(tmp_path / "a", "xyz", fold=[0, ALWAYS_TEST, 1]), "b": table(tmp_path / "b")}
    merged = merge_tables(tables)
    assert merged.table.frame["fold"].tolist() == [ALWAYS_TRAIN, ALWAYS_TEST, ALWAYS_TRAIN, ALWAYS_TRAIN, ALWAYS_TRAIN]
    assert merged.notes[0] == "b has no folds: only fold -2 (the test) of a is kept"


def test_boxes_are_blank_where_a_dataset_has_none(tmp_path: Path) -> None:
    boxes = {
        name: pd.array([value, pd.NA], dtype="Int64")
        for name, value in {"x_1": 0, "y_1": 1, "x_2": 9, "y_2": 8}.items()
    }
    merged = merge_tables({"a": table(tmp_path / "a"), "b": table(tmp_path / "b", **boxes)}).table
    write_table(merged.frame, tmp_path / "t.csv", command="eml merge", root=tmp_path)
    assert read_table(tmp_path / "t.csv").frame["x_2"].fillna(-1).tolist() == [-1, -1, 9, -1]


def test_hashes_of_two_kinds_are_refused(tmp_path: Path) -> None:
    hashes = {"hash": ["0" * 16, "1" * 16]}
    a = table(tmp_path / "a", **hashes, hash_kind=["phash-luma256"] * 2)
    b = table(tmp_path / "b", **hashes, hash_kind=["phash-imagehash"] * 2)
    with pytest.raises(DataError) as error:
        merge_tables({"a": a, "b": b})
    assert error.value.problems == [
        f"the table of {tmp_path}/a: its hashes are of phash-luma256",
        f"the table of {tmp_path}/b: its hashes are of phash-imagehash",
        "Hashes of different kinds cannot be compared: scan all with, or all without, eml scan --hash-exact",
    ]
    with pytest.raises(DataError, match="an unknown kind"):
        merge_tables({"a": a, "b": table(tmp_path / "b", **hashes)})
    assert (
        "hash"
        in merge_tables({"a": a, "b": table(tmp_path / "b", **hashes, hash_kind=a.frame["hash_kind"])}).table.frame
    )
    assert "hash" not in merge_tables({"a": a, "b": table(tmp_path / "b")}).table.frame


def test_the_same_file_in_two_tables_is_reported_with_both_lines(tmp_path: Path) -> None:
    one = on_disk(tmp_path, "label,file_name\na,a/1.jpg\nb,b/1.jpg\n", "one.csv")
    two = on_disk(tmp_path / "b", "label,file_name\nc,2.jpg\nc,1.jpg\n", "two.csv")
    assert problems(MergeSource(one), MergeSource(two)) == [
        f"{two}:3: 'b/1.jpg' is in {one}:3 already. Merge tables of different images"
    ]


def test_the_same_image_may_be_in_two_tables_with_different_boxes(tmp_path: Path) -> None:
    header = "label,file_name,x_1,y_1,x_2,y_2\n"
    one = on_disk(tmp_path, f"{header}a,1.jpg,0,0,5,5\n", "one.csv")
    two = on_disk(tmp_path, f"{header}b,1.jpg,5,0,9,5\n", "two.csv")
    assert len(merge_sources([MergeSource(one), MergeSource(two)], step="train").table.frame) == 2
    two.write_text(f"{header}b,1.jpg,0,0,5,5\n")
    assert problems(MergeSource(one), MergeSource(two)) == [
        f"{two}:2: '1.jpg' is in {one}:2 already. Merge tables of different images"
    ]


def test_the_problems_of_all_tables_are_reported_at_once(tmp_path: Path) -> None:
    one = on_disk(tmp_path / "a", "label,file_name,width\na,1.jpg,wide\n")
    two = on_disk(tmp_path / "b", "label,image\na,1.jpg\n", "two.csv")
    three = on_disk(tmp_path / "b" / "c", "label,file_name\na,../9.jpg\na,2.jpg\n", "three.csv")
    assert problems(MergeSource(one), MergeSource(two), MergeSource(three), MergeSource(tmp_path / "none")) == [
        f"{one}:2: width must be a whole number from 1 to 2,147,483,647, got 'wide'",
        f"{two}:1: column 'file_name' is missing (is it 'image'? Set `file_column=\"image\"`); columns found: label, "
        "image",
        f"{three}:2: file_name must stay under the root: relative and without '..', got '../9.jpg'",
        f"{tmp_path}/none: no such file or folder",
    ]


def test_names_come_from_folders_and_tables_and_must_differ(tmp_path: Path) -> None:
    assert MergeSource(Path("x/shoes")).dataset_name == "shoes"
    assert MergeSource(Path("x/shoes/dataset_train.csv")).dataset_name == "shoes"
    assert MergeSource(Path("x/shoes/mine.csv")).dataset_name == "mine"
    assert MergeSource(Path("x/shoes/mine.csv"), name="y").dataset_name == "y"
    advice = "Give it as NAME=PATH, in a config as {table: PATH, name: NAME}"
    assert problems(MergeSource(Path("x/shoes")), MergeSource(Path("y/shoes/folds.csv"))) == [
        f"x/shoes, y/shoes/folds.csv: each dataset needs a different name, and these are called 'shoes'. {advice}"
    ]
    assert problems(MergeSource(Path("x"), name="a:b"), MergeSource(Path("y"), name=" ")) == [
        f"x: a dataset's name must not be empty or hold ':', got 'a:b'. {advice}",
        f"y: a dataset's name must not be empty or hold ':', got ' '. {advice}",
    ]


def test_the_digest_of_a_merged_table_changes_with_any_of_its_files(tmp_path: Path) -> None:
    one = on_disk(tmp_path / "a", "label,file_name\na,1.jpg\n")
    two = on_disk(tmp_path / "b", "label,file_name\na,1.jpg\n", "two.csv")
    sources = [MergeSource(one), MergeSource(two)]
    table = merge_sources(sources, step="train").table
    assert table.parts == (one, two)
    assert table.name == f"the table merged from {one} and 1 more"
    before = table.digest
    assert before == merge_sources(sources, step="train").table.digest
    two.write_text("label,file_name\nb,1.jpg\n")
    assert merge_sources(sources, step="train").table.digest != before


def test_a_merged_table_of_too_many_columns_is_not_made(tmp_path: Path) -> None:
    """Or the next command could not read it."""
    tables = {name: table(tmp_path / name, **{f"{name}{n}": [1, 2] for n in range(1_001)}) for name in "xy"}
    with pytest.raises(DataError, match="the merged table: has 2,002 columns that eml does not know"):
        merge_tables(tables)
