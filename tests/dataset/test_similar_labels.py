"""Labels that a reader could not tell apart are named, and two forms of one text are one class."""

import unicodedata
from pathlib import Path

import pandas as pd
import pytest

import eml
from eml.dataset.merge import merge_tables
from eml.dataset.pipeline import resolve
from eml.dataset.similar_labels import find_similar, reading_of, similar_labels_line, similar_to_trained_line
from eml.dataset.table import Table
from tests.dataset.scanning.test_scan import image

COMPOSED, DECOMPOSED = "M\u00fcller", "Mu\u0308ller"


@pytest.mark.parametrize(
    "first, second, difference",
    [
        (COMPOSED, DECOMPOSED, "Unicode form"),
        ("Weber", "Weber ", "blanks"),
        ("Weber Ost", "Weber  Ost", "blanks"),
        ("Weber Ost", "Weber\u00a0Ost", "blanks"),
        ("Weber", "weber", "case"),
        ("Straße", "STRASSE", "case"),
        ("Weber", "We\u200bber", "invisible characters"),
        ("\ufeffWeber", "Weber", "invisible characters"),
        ("file", "\ufb01le", "look-alike characters"),
        ("7", "\uff17", "look-alike characters"),
        ("Weber", " WE\u200bBER", "blanks, invisible characters, case"),
    ],
)
def test_labels_that_read_the_same_are_found_with_their_difference(first: str, second: str, difference: str) -> None:
    (group,) = find_similar([first, second, "other"])
    assert set(group.labels) == {first, second}
    assert group.difference == difference
    if difference == "Unicode form":
        assert str(group) == r"'Mu\u0308ller' and 'M\xfcller' (Unicode form)"


def test_labels_that_read_differently_are_not_found() -> None:
    family, single = "\U0001f468\u200d\U0001f469", "\U0001f468\U0001f469"  # joined emoji are one picture
    different = ["a", "b", "a b", "ab", "a-b", "007", "7", family, single, "m\u00fcller", "muller", ""]
    assert find_similar(different) == []
    assert similar_labels_line(different) is None
    assert reading_of("Weber") == "weber"


def test_a_scan_makes_one_class_of_two_forms_and_names_the_rest(tmp_path: Path) -> None:
    for number, label in enumerate((COMPOSED, DECOMPOSED, "Weber", "Weber ", "weber", "x")):
        image(tmp_path / "photos" / label / f"{number}.jpg", (8 + number, 8))
    if len(list((tmp_path / "photos").iterdir())) < 6:
        pytest.skip("the file system has one form or case of a name")
    scan = eml.scan(tmp_path / "photos")
    assert sorted(scan.table.frame["label"].unique()) == sorted([COMPOSED, "Weber", "Weber ", "weber", "x"])
    assert sum(DECOMPOSED in name for name in scan.table.frame["file_name"]) == 1  # the path is that of the disk
    forms, similar = scan.scan.warnings[:2]
    assert forms == "1 class has folders whose names are one text in two Unicode forms: 'Müller'"
    assert "3 classes have labels that read like another one's: 'Weber', 'Weber ' and 'weber' (blanks, case)" in similar
    assert eml.filter(tmp_path / "photos", min_size=1).filtered.counts.classes == 5


def test_a_table_of_the_users_own_is_read_as_it_is_and_the_pairs_are_named(tmp_path: Path) -> None:
    for name in ("1.jpg", "2.jpg", "3.jpg"):
        image(tmp_path / name)
    (tmp_path / "mine.csv").write_text("label,file_name\nWeber,1.jpg\nWeber ,2.jpg\nx,3.jpg\n", encoding="utf-8")
    lines: list[str] = []
    assert resolve(tmp_path / "mine.csv", "filter", report=lines.append).frame["label"].nunique() == 3
    expected = "2 classes have labels that read like another one's: 'Weber' and 'Weber ' (blanks)"
    assert any(expected in line for line in lines)


def test_merged_datasets_have_one_class_for_two_forms(tmp_path: Path) -> None:
    tables = {
        name: Table(pd.DataFrame({"label": labels, "file_name": ["1.jpg", "2.jpg"]}), tmp_path / name)
        for name, labels in (("a", [COMPOSED, "Weber"]), ("b", [DECOMPOSED, "weber"]))
    }
    merged = merge_tables(tables, "merged")
    assert sorted(set(merged.table.frame["label"])) == sorted({COMPOSED, "Weber", "weber"})
    assert merged.shared_labels == [COMPOSED]
    assert any("'Weber' and 'weber' (case)" in note for note in merged.notes)
    assert unicodedata.is_normalized("NFC", "".join(merge_tables(tables, "apart").table.frame["label"]))


def test_classes_that_read_like_trained_ones_are_named() -> None:
    assert similar_to_trained_line([DECOMPOSED, "x"], [COMPOSED]) is None  # it is the same class
    line = similar_to_trained_line(["Weber ", "x"], ["Weber"]) or ""
    assert line == (
        "1 class has a label that reads like one that was trained on, and counts as a class that was not: "
        "'Weber' and 'Weber ' (blanks)"
    )
