"""Tables, sidecars and scans of eml 0.1.0 stay usable: tests/fixtures/v0_1_0 holds what that version wrote."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from eml.dataset.columns import has_query_gallery, query_or_gallery_rows
from eml.dataset.pipeline import resolve, table_to_evaluate
from eml.dataset.scanning.scan import scan_folder
from eml.dataset.sidecar import read_sidecar, recorded_root, written_by_eml
from eml.dataset.table import check_outputs, read_columns, read_table
from eml.errors import DataError

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "v0_1_0"
EXPECTED: dict[str, dict[str, Any]] = json.loads((FIXTURES / "EXPECTED.json").read_text())["tables"]
TABLES = [name for name, facts in EXPECTED.items() if "read_as_table" in facts]
NO_TABLES = [name for name, facts in EXPECTED.items() if "not_a_table" in facts]
WITH_SIDECAR = [name for name, facts in EXPECTED.items() if facts["sidecar"]]


def root_of(name: str) -> Path | None:
    """Return the root that has to be given for a table without a sidecar."""
    return None if EXPECTED[name]["sidecar"] else FIXTURES / EXPECTED[name]["root"]


@pytest.mark.parametrize("name", TABLES)
def test_a_table_has_the_rows_columns_and_values_that_it_had(name: str) -> None:
    facts = EXPECTED[name]
    table = read_table(FIXTURES / name, root_of(name), check_files=True)
    assert table.frame.columns.tolist() == facts["read_as_table"]["columns"]
    assert len(table.frame) == facts["read_as_table"]["rows"]
    assert table.frame["label"].nunique() == facts["read_as_table"]["classes"]
    assert table.root.resolve() == (FIXTURES / facts["root"]).resolve()
    if "folds" in facts:
        folds = table.frame["fold"].value_counts()
        assert {str(fold): int(count) for fold, count in folds.items()} == facts["folds"]
    for column, values in facts.get("values", {}).items():
        if name != "oml.parquet":  # its split is read as ours
            assert sorted(map(str, table.frame[column].unique())) == values


@pytest.mark.parametrize("name", NO_TABLES)
def test_files_that_were_no_tables_still_are_none_but_their_columns_are_read(name: str) -> None:
    with pytest.raises(DataError):
        read_table(FIXTURES / name)
    columns = EXPECTED[name]["columns"]
    assert len(read_columns(FIXTURES / name, columns)) == EXPECTED[name]["rows"]


@pytest.mark.parametrize("name", WITH_SIDECAR)
def test_a_sidecar_is_read_and_its_table_is_still_emls(name: str) -> None:
    path = FIXTURES / name
    sidecar = read_sidecar(path)
    assert sidecar is not None
    assert (sidecar.eml_version, sidecar.root) == ("0.1.0", EXPECTED[name]["sidecar_root"])
    assert recorded_root(path) == Path(os.path.normpath(path.parent / sidecar.root))
    assert written_by_eml(path)
    assert check_outputs([path]) == [path]


@pytest.mark.parametrize(
    "step, name",
    [("filter", "dataset_info"), ("split", "dataset_info_filtered"), ("kfold", "dataset_train"), ("train", "folds")],
)
def test_the_table_of_a_folder_is_not_stale(step: str, name: str) -> None:
    lines: list[str] = []
    table = resolve(FIXTURES / "photos", step, report=lines.append)
    assert table.path == FIXTURES / "photos" / f"{name}.csv"
    assert lines == [f"table: {FIXTURES}/photos/{name}.csv"]
    assert len(table.frame) == EXPECTED[f"photos/{name}.csv"]["rows"]


def test_the_test_table_of_a_folder_has_its_queries_and_gallery() -> None:
    test = table_to_evaluate(FIXTURES / "photos", None)
    assert test.path == FIXTURES / "photos" / "dataset_test.csv"
    assert has_query_gallery(test.frame)
    flags = pd.read_csv(FIXTURES / "photos" / "dataset_test.csv")[["is_query", "is_gallery"]]
    assert query_or_gallery_rows(test.frame).tolist() == flags.any(axis=1).tolist()


def test_boxes_flags_and_folds_survive_in_parquet() -> None:
    frame = read_table(FIXTURES / "folds.parquet").frame
    assert frame["x_2"].dtype == "Int64"
    assert frame["x_2"].notna().any()
    assert frame["is_query"].dtype == "boolean"
    assert set(frame["fold"]) == {-2, -1, 0, 1, 2}


def test_an_error_table_keeps_the_reason_of_its_version() -> None:
    assert "not_a_picture" in set(read_columns(FIXTURES / "photos" / "dataset_errors.csv", ["reason"])["reason"])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A copy of the images and of what the scan kept, the images with the time of the records."""
    copy = shutil.copytree(FIXTURES / "photos", tmp_path / "photos")
    records = (copy / ".dataset_info.csv.eml-scan").read_text()
    for name, mtime, *_ in json.loads(records.splitlines()[0].partition(" ")[2])["records"]:
        if (copy / name).is_file():
            os.utime(copy / name, ns=(mtime, mtime))
    return copy


def test_the_records_of_a_scan_are_neither_used_nor_misread(photos: Path) -> None:
    lines: list[str] = []
    scan = scan_folder(photos, table_path=photos / "dataset_info.csv", workers=1, report=lines.append)
    assert (scan.cached_files, lines) == (0, [])
    again = scan_folder(photos, table_path=photos / "dataset_info.csv", workers=1, report=lines.append)
    assert again.cached_files > 70
    assert again.table.equals(scan.table)


def test_a_scan_makes_the_table_that_it_made(photos: Path) -> None:
    before = read_table(FIXTURES / "photos" / "dataset_info.csv").frame
    scan = scan_folder(photos, workers=1)
    assert scan.table.drop(columns="is_blank").astype(str).equals(before.astype(str))
    assert scan.table["file_name"][scan.table["is_blank"]].tolist() == ["letter_E/wide.png"]
    errors = read_columns(FIXTURES / "photos" / "dataset_errors.csv", ["file_name", "reason"])
    left = errors[[(photos / name).is_file() for name in errors["file_name"]]]
    reasons = dict(zip(left["file_name"], left["reason"].replace("not_a_picture", "not_an_image"), strict=True))
    assert dict(zip(scan.errors["file_name"], scan.errors["reason"], strict=True)) == reasons
