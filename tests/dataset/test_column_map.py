"""A table of the user's own is read as it is: its columns, its names, its absolute paths."""

from pathlib import Path

import pytest

from eml.dataset.column_map import AS_NAMED, ColumnMap
from eml.dataset.merge import MergeSource, merge_sources
from eml.dataset.pipeline import resolve
from eml.dataset.table import read_table, write_table
from eml.errors import DataError

FILES = ("train/a/1.jpg", "train/a/2.jpg", "train/b/3.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def own(root: Path, names: tuple[str, ...] | list[str], header: str = "image;species;camera") -> Path:
    rows = "".join(f"{name};{label};north\n" for name, label in zip(names, "aab", strict=True))
    (root / "own.csv").write_text(f"{header}\n{rows}")
    return root / "own.csv"


def names_read(path: Path, **parameters: object) -> list[str]:
    columns = ColumnMap("image", "species", **parameters)  # type: ignore[arg-type]
    return read_table(path, check_files=True, columns=columns).frame["file_name"].tolist()


def test_named_columns_become_emls_and_the_others_stay(root: Path) -> None:
    frame = read_table(own(root, FILES), check_files=True, columns=ColumnMap("image", "species")).frame
    assert {name: frame[name].tolist() for name in frame} == {
        "camera": ["north"] * 3,
        "file_name": list(FILES),
        "label": ["a", "a", "b"],
    }


def test_a_column_that_had_the_name_is_kept_under_another(root: Path) -> None:
    path = own(root, FILES, "file_name;label;fine")
    frame = read_table(path, columns=ColumnMap(label_column="fine")).frame
    assert frame["label"].tolist() == ["north"] * 3
    assert frame["own_label"].tolist() == ["a", "a", "b"]
    assert read_table(path, columns=ColumnMap("file_name", "label")).frame["label"].tolist() == ["a", "a", "b"]
    both = read_table(path, columns=ColumnMap("file_name", "file_name")).frame
    assert both["label"].tolist() == both["file_name"].tolist() == list(FILES)


def test_names_are_rewritten_by_prefix_suffix_and_the_values_of_columns(root: Path) -> None:
    assert names_read(own(root, ["a/1.jpg", "a/2.jpg", "b/3.png"]), path_prefix="train/") == list(FILES)
    assert names_read(own(root, ["1.jpg", "2.jpg", "3.png"]), path_prefix="train/{label}/") == list(FILES)
    stripped = own(root, ["C:\\x\\train/a/1.jpg", "C:\\x\\train/a/2.jpg", "train/b/3.png"])
    assert names_read(stripped, strip_prefix="C:\\x\\") == list(FILES)
    (root / "train/b/3.jpg").touch()
    path = own(root, ["train/a/1", "train/a/2.jpg", "train/b/3"])
    assert names_read(path, path_suffix=".jpg") == ["train/a/1.jpg", "train/a/2.jpg", "train/b/3.jpg"]


def test_the_one_file_that_differs_in_slashes_case_or_suffix_is_taken(root: Path) -> None:
    path = own(root, ["TRAIN\\a\\1.JPG", "train/A/2", "train/b/3.jpeg"])
    assert names_read(path, match_names=True) == list(FILES)
    (root / "train/b/3.webp").touch()
    with pytest.raises(DataError) as error:
        names_read(path, match_names=True)
    assert error.value.problems == [
        f"{path}:4: 'train/b/3.jpeg' fits 2 files, 'train/b/3.png', 'train/b/3.webp'; set `path_suffix`, or write one "
        "of them"
    ]
    assert (error.value.code, error.value.parameter) == ("several-images", "match_names")
    twice = own(root, ["train/a/1.JPG", "train/a/1", "train/b/3.png"])
    with pytest.raises(DataError, match=r"own\.csv:3: 'train/a/1\.jpg' occurs more than once"):
        names_read(twice, match_names=True)


def test_absolute_paths_under_the_root_are_read(root: Path) -> None:
    (root / "link").symlink_to(root / "train")
    (root / "meta").mkdir()
    paths = [f"{root}/train/a/1.jpg", f"{root}/meta/../train/a/2.jpg", "train/b/3.png"]
    assert names_read(own(root, paths)) == list(FILES)
    path = own(root, [paths[0], "/etc/passwd", f"{root}/../x.jpg"])
    with pytest.raises(DataError) as error:
        names_read(path)
    assert error.value.problems == [
        f"{path}:{line}: image must stay under the root: relative and without '..', got '{name}'"
        for line, name in ((3, "/etc/passwd"), (4, f"{root}/../x.jpg"))
    ]


def test_no_rewriting_leads_out_of_the_root(root: Path) -> None:
    (root.parent / "outside").mkdir(exist_ok=True)
    (root.parent / "outside" / "1.jpg").touch()
    (root / "link").symlink_to(root.parent / "outside")
    for names, parameters in (
        (["1.jpg"] * 3, {"path_prefix": "../outside/"}),
        (["1.jpg"] * 3, {"path_prefix": f"{root.parent}/outside/"}),
        (["x../outside/1.jpg"] * 3, {"strip_prefix": "x"}),
        (["link/1.JPG", "link\\1.jpg", "link/1"], {"match_names": True}),
        (["..\\outside\\1.jpg"] * 3, {"match_names": True}),
    ):
        with pytest.raises(DataError) as error:
            names_read(own(root, names), **parameters)
        assert {problem.code for problem in error.value.problems} <= {
            *("path-outside-root", "missing-image", "repeated-image")
        }


def test_a_column_that_is_not_there_is_an_error_that_lists_them(root: Path) -> None:
    path = own(root, FILES)
    with pytest.raises(DataError) as error:
        read_table(path, columns=ColumnMap("img", "class"))
    assert error.value.problems == [
        f"{path}:1: `{parameter}`: there is no column '{name}'; columns found: image, species, camera"
        for parameter, name in (("file_column", "img"), ("label_column", "class"))
    ]


def test_a_folder_and_what_eml_wrote_among_several_tables_need_no_map(root: Path) -> None:
    columns = ColumnMap("image", "species")
    with pytest.raises(DataError, match="`file_column` goes with a table"):
        resolve(root, "kfold", columns=columns)
    path = own(root, FILES)
    table = read_table(path, columns=columns)
    write_table(table.frame, root / "other" / "w.csv", command="eml kfold", root=root)
    assert columns.of_several(root / "other" / "w.csv") == columns.of_several(root) == AS_NAMED
    sources = [MergeSource(path, columns=columns.of_several(path)), MergeSource(root / "other" / "w.csv", name="w")]
    with pytest.raises(DataError, match=r"is in .* already"):  # both were read
        merge_sources(sources, step="split")


def test_blank_labels_and_values_of_a_prefix_are_blank(root: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"label": [None, "a"], "file_name": ["../1.jpg", "../2.jpg"], "side": [None, 1]})
    pytest.importorskip("pyarrow.parquet").write_table(table, root / "t.parquet")
    for columns in (AS_NAMED, ColumnMap(path_prefix="{side}/"), ColumnMap(path_prefix="{label}", match_names=True)):
        with pytest.raises(DataError, match=r"row 1: label is empty"):
            read_table(root / "t.parquet", columns=columns)
