"""Blank images are listed, and are nobody's duplicate, conflict, look-alike or leak."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from eml.dataset.duplicates.blank import blank_rows
from eml.dataset.duplicates.dedup import DedupRules, find_duplicates
from eml.dataset.duplicates.label_conflicts import label_conflicts
from eml.dataset.merge import merge_tables
from eml.dataset.scanning.scan import scan_folder, summarise
from eml.dataset.splits.groups import group_rows
from eml.dataset.splits.leak_audit import audit_tables
from eml.dataset.table import Table
from eml.reports.data.facts import count_blank
from eml.reports.data.look_alikes import count_look_alikes, find_look_alikes

BLANK = {"a/1.png", "a/2.png", "b/1.png", "b/2.jpg"}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Two classes with blank images (three of them of the same bytes) and an image that is in both."""
    root = tmp_path_factory.mktemp("blank")
    white, shape = Image.new("RGBA", (40, 40), (255, 255, 255, 0)), Image.new("RGB", (300, 300), (90, 160, 200))
    ImageDraw.Draw(shape).ellipse((60, 90, 200, 220), fill=(220, 40, 30))
    for label in "ab":
        (root / label).mkdir()
        white.save(root / label / "1.png")
        shape.save(root / label / "3.png")
    white.save(root / "a" / "2.png")
    Image.new("RGB", (1200, 900), (70, 70, 70)).save(root / "b" / "2.jpg")
    dot = Image.new("RGB", (1200, 900), (255, 255, 255))
    dot.paste((0, 0, 0), (500, 500, 502, 502))  # vanishes in the reduced image that is hashed
    dot.save(root / "a" / "4.jpg", quality=95)
    return Table(scan_folder(root, workers=1).table, root)


def test_scan_marks_blank_images_and_no_other(table: Table) -> None:
    assert set(table.frame["file_name"][table.frame["is_blank"]]) == BLANK
    scanned = scan_folder(table.root, workers=1)
    assert summarise(scanned).blank == 4
    text = "4 blank images (a/1.png, a/2.png, b/1.png, b/2.jpg), with all pixels of one colour: see the column is_blank"
    assert text in scanned.warnings


@pytest.mark.parametrize("scope", ["class", "dataset"])
@pytest.mark.parametrize("hash_only", [False, True])
def test_blank_images_are_neither_duplicates_nor_conflicts(table: Table, scope: str, hash_only: bool) -> None:
    found = find_duplicates(table, DedupRules(scope=scope, hash_only=hash_only and scope == "class"))
    assert found.twins.empty
    assert set(found.conflicts["file_name"]) == {"a/3.png", "b/3.png"}
    assert set(label_conflicts(table, 10)["file_name"]) == {"a/3.png", "b/3.png"}


def test_the_data_report_counts_blank_images_apart_from_look_alikes(table: Table) -> None:
    counts = count_look_alikes(find_look_alikes(table, 10))
    assert (counts.within_classes.images_to_spare, counts.within_classes.same_hash) == (0, 0)
    assert (counts.label_conflicts.images, counts.label_conflicts.same_bytes) == (2, 2)
    blank = count_blank(table.frame)
    assert blank is not None
    assert (blank.images, set(blank.first)) == (4, BLANK)


def test_blank_images_are_in_no_group_of_a_split(table: Table) -> None:
    groups = group_rows(table).ids
    sizes = np.bincount(groups)[groups]
    assert dict(zip(table.frame["file_name"], sizes, strict=True))["a/3.png"] == 2
    assert set(sizes[table.frame["is_blank"].to_numpy()]) == {1}


@pytest.mark.parametrize("hashes", [True, False])
def test_blank_images_are_no_leak(table: Table, hashes: bool) -> None:
    frame = table.frame if hashes else table.frame.drop(columns=["hash", "hash_kind"])
    sides = [
        Table(frame[frame["label"] == label].reset_index(drop=True), table.root, table.root / f"{label}.csv")
        for label in "ab"
    ]
    audit = audit_tables(*sides)
    assert set(audit.pairs["file_name"]) == {"a/3.png"}
    assert (audit.num_pairs, audit.pairs_of_same_content) == (1, 1)
    assert audit.images == {"train": 4, "test": 3}


def test_blank_images_are_not_shared_by_two_datasets(table: Table) -> None:
    tables = {label: Table(table.frame[table.frame["label"] == label], table.root) for label in "ab"}
    merged = merge_tables(tables, labels="apart")
    assert set(merged.shared_images["file_name"]) == {"a/3.png", "b/3.png"}
    assert "is_blank" in merged.table.frame.columns


def test_where_a_table_does_not_say_no_image_is_blank() -> None:
    frame = pd.DataFrame({"is_blank": pd.array([True, None, False], dtype="boolean")})
    assert blank_rows(frame).tolist() == [True, False, False]
    assert blank_rows(frame[[]]).tolist() == [False] * 3
