"""Each error of the data's room has a stable code and, where one is to blame, a parameter."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from eml.dataset.boxes import check_boxes
from eml.dataset.duplicates.dedup import DedupRules
from eml.dataset.duplicates.duplicates import hash_values
from eml.dataset.filter import FilterRules, filter_table
from eml.dataset.merge import MergeSource, merge_sources, merge_tables
from eml.dataset.pipeline import resolve
from eml.dataset.scanning.listing import check_folder, list_files
from eml.dataset.scanning.scan import scan_folder
from eml.dataset.splits.folds import add_folds
from eml.dataset.splits.groups import group_rows
from eml.dataset.splits.leak_audit import audit_folds, audit_tables
from eml.dataset.splits.query_gallery import mark_query_gallery
from eml.dataset.splits.split import split_by_alternate, split_by_column, split_by_counts, split_by_ratio
from eml.dataset.table import Table, check_outputs, read_file_names, read_table
from eml.errors import EmlError

ROWS = "label,file_name\na,a/1.jpg\na,a/2.jpg\nb,b/1.jpg\n"


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"label": ["a", "a", "b"], "file_name": ["a/1.jpg", "a/2.jpg", "b/1.jpg"]} | columns)


def table(**columns: Any) -> Table:
    return Table(frame(**columns), Path("images"), Path("images/t.csv"))


HASHES = ["0" * 16, "f" * 16, "0" * 16]
CALLS: dict[str, tuple[Callable[[], object], str, str | None]] = {
    "threshold": (lambda: group_rows(table(), threshold=64), "out-of-range", "threshold"),
    "group_by": (lambda: group_rows(table(), group_by=["camera"]), "missing-column", "group_by"),
    "kinds": (lambda: hash_values(table(hash=HASHES, hash_kind=["x", "y", "y"])), "mixed-hash-kinds", None),
    "no hashes": (lambda: hash_values(table()), "missing-column", "hashes"),
    "hash": (lambda: hash_values(Table(frame(hash=["x"] * 3), Path())), "invalid-value", None),
    "k": (lambda: add_folds(table(), 1), "out-of-range", "k"),
    "k images": (lambda: add_folds(table(), 5), "too-few-images", "k"),
    "k classes": (lambda: add_folds(table(), 5, by="class"), "too-few-classes", "k"),
    "k groups": (lambda: add_folds(table(), 2, groups=np.zeros(3, np.int64)), "too-few-groups", "k"),
    "counts": (lambda: split_by_counts(table(), 3, 2), "out-of-range", "min_n_samples"),
    "counts side": (lambda: split_by_counts(table(), 7, 9), "empty-side", "min_n_samples"),
    "ratio": (lambda: split_by_ratio(table(), 2), "out-of-range", "test_ratio"),
    "ratio side": (lambda: split_by_ratio(table(), 0.01), "empty-side", "test_ratio"),
    "alternate": (lambda: split_by_alternate(table(label=["a"] * 3)), "too-few-classes", None),
    "column": (lambda: split_by_column(table(), "side"), "missing-column", "column"),
    "column value": (lambda: split_by_column(table(side=["x"] * 3), "side"), "invalid-value", "column"),
    "column class": (
        lambda: split_by_column(table(side=["train", "test", "test"]), "side"),
        "class-on-both-sides",
        "column",
    ),
    "share": (lambda: mark_query_gallery(frame(), np.arange(3), 1.5), "out-of-range", "query_share"),
    "queries": (lambda: mark_query_gallery(frame(), np.zeros(3, int)), "no-queries", "query_gallery"),
    "same table": (lambda: audit_tables(table(), table()), "same-table", "test"),
    "audit": (lambda: audit_folds(table()), "missing-column", "test"),
    "audit folds": (lambda: audit_folds(table(fold=[0, 0, 0])), "too-few-folds", None),
    "rules": (lambda: filter_table(table(), FilterRules()), "missing-key", None),
    "min_size": (lambda: filter_table(table(), FilterRules(min_size=0)), "out-of-range", "min_size"),
    "sizes": (lambda: filter_table(table(), FilterRules(min_size=9, max_size=5)), "conflicting-settings", "min_size"),
    "no sizes": (lambda: filter_table(table(), FilterRules(min_size=9)), "missing-column", None),
    "hash_only": (
        lambda: FilterRules(dedup=DedupRules(scope="dataset", hash_only=True)).check(),
        "conflicting-settings",
        "hash_only",
    ),
    "exclude": (
        lambda: filter_table(table(), FilterRules(exclude={Path("list.csv"): ["x"]})),
        "unknown-image",
        "exclude",
    ),
    "nothing left": (lambda: filter_table(table(), FilterRules(min_per_class=9)), "nothing-left", None),
    "names": (
        lambda: merge_sources([MergeSource(Path("x/a")), MergeSource(Path("y/a"))], step="train"),
        "repeated-name",
        "datasets",
    ),
    "same file": (lambda: merge_tables({name: Table(frame(), Path()) for name in "ab"}), "repeated-image", "datasets"),
    "scan": (lambda: check_folder(Path("/nowhere at all")), "missing-folder", "dataset"),
    "source": (lambda: resolve(Path("/nowhere at all"), "train"), "missing-file", "dataset"),
}


@pytest.mark.parametrize("call, code, parameter", CALLS.values(), ids=list(CALLS))
def test_an_error_has_a_code_and_a_parameter(call: Callable[[], object], code: str, parameter: str | None) -> None:
    with pytest.raises(EmlError) as error:
        call()
    assert (error.value.code, error.value.parameter) == (code, parameter)


def codes(call: Callable[[], object]) -> list[tuple[str, str | None]]:
    with pytest.raises(EmlError) as error:
        call()
    return [(problem.code, problem.parameter) for problem in error.value.problems]


@pytest.mark.parametrize(
    "text, code",
    [
        ("", "empty-table"),
        ("label,file_name\n", "empty-table"),
        ("name\nx\n", "missing-column"),
        ("label,file_name,label\na,1,b\n", "repeated-column"),
        ("label,file_name\n,1.jpg\n", "empty-value"),
        ("label,file_name\na,../1.jpg\n", "path-outside-root"),
        ("label,file_name\na,1.jpg\na,1.jpg\n", "repeated-image"),
        ("label,file_name,width\na,1.jpg,wide\n", "invalid-value"),
        ("label,file_name,x_1\na,1.jpg,1\n", "missing-column"),
        ("label,file_name,x_1,y_1,x_2,y_2\na,1.jpg,5,0,1,9\n", "invalid-box"),
        ("label,file_name,width,height,x_1,y_1,x_2,y_2\na,1.jpg,5,5,0,0,9,9\n", "invalid-box"),
        ("path,label,split,is_query,is_gallery\na.jpg,1,dev,,\n", "invalid-value"),
    ],
)
def test_a_bad_row_or_header_has_a_code(tmp_path: Path, text: str, code: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    assert codes(lambda: read_table(tmp_path / "t.csv")) == [(code, None)]


def test_a_table_that_cannot_be_read_or_found_has_a_code(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"label,file_name\n\xff\xfe,1.jpg\n")
    (tmp_path / "folder.csv").mkdir()
    assert codes(lambda: read_table(tmp_path / "t.csv")) == [("not-utf-8", None)]
    assert codes(lambda: read_table(tmp_path / "none.csv")) == [("missing-file", None)]
    assert codes(lambda: read_table(tmp_path / "t.xlsx")) == [("wrong-suffix", None)]
    assert codes(lambda: read_table(tmp_path / "folder.csv")) == [("not-a-file", None)]
    (tmp_path / "t.csv").write_text("name\n1\n")
    assert codes(lambda: read_file_names(tmp_path / "t.csv")) == [("missing-column", None)]


def test_wrong_roots_and_missing_images_have_codes(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(ROWS)
    assert codes(lambda: read_table(tmp_path / "t.csv", tmp_path / "none")) == [("missing-folder", "root")]
    assert codes(lambda: read_table(tmp_path / "t.csv", check_files=True)) == [("missing-image", "root")]
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.jpg").touch()
    assert codes(lambda: read_table(tmp_path / "t.csv", check_files=True)) == [("missing-image", None)] * 2
    assert codes(lambda: resolve(tmp_path, "filter", tmp_path)) == [("conflicting-settings", "root")]
    (tmp_path / "t.csv.eml.json").write_text("{")
    assert codes(lambda: read_table(tmp_path / "t.csv")) == [("damaged-file", "root")]


def test_outputs_have_codes_and_parameters(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(ROWS)
    (tmp_path / "folder.csv").mkdir()
    paths = [tmp_path / "t.csv", tmp_path / "folder.csv", tmp_path / "t.csv" / "x.csv"]
    assert codes(lambda: check_outputs(paths)) == [
        ("file-exists", "overwrite"),
        ("not-a-file", "out"),
        ("not-writable", "out"),
    ]
    assert codes(lambda: check_outputs(paths[:1], inputs=paths[:1])) == [("overwrites-input", "out")]


def test_folders_without_images_and_unusable_files_have_codes(tmp_path: Path) -> None:
    assert codes(lambda: list_files(tmp_path)) == [("no-images", "dataset")]
    (tmp_path / "1.jpg").touch()
    assert codes(lambda: list_files(tmp_path)) == [("no-classes", "dataset")]
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.jpg").write_text("no image")
    assert codes(lambda: scan_folder(tmp_path)) == [
        ("no-images", "dataset"),
        ("not-in-a-class", None),
        ("not-an-image", None),
    ]


def test_boxes_of_files_that_are_no_images_have_their_reason_as_code(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_text("no image")
    (tmp_path / "t.csv").write_text("label,file_name,x_1,y_1,x_2,y_2\na,1.jpg,0,0,5,5\na,2.jpg,0,0,5,5\n")
    assert codes(lambda: check_boxes(read_table(tmp_path / "t.csv"))) == [
        ("not-an-image", None),
        ("missing-image", None),
    ]


def test_the_lines_after_the_twentieth_are_counted_with_a_code_of_their_own(tmp_path: Path) -> None:
    rows = "".join(f"a,../{number}.jpg\n" for number in range(30))
    (tmp_path / "t.csv").write_text(f"label,file_name\n{rows}")
    assert codes(lambda: read_table(tmp_path / "t.csv"))[-1] == ("more-problems", None)


def test_a_stale_table_has_a_code(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "a").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "a" / "1.png")
    resolve(tmp_path, "filter")
    Image.new("RGB", (4, 4)).save(tmp_path / "a" / "2.png")
    assert codes(lambda: resolve(tmp_path, "filter")) == [("out-of-date", None)]
