"""Files of names."""

import json
from pathlib import Path

import pytest

from eml.errors import DataError
from eml.texts.names_file import read_names

EXPECTED = {"0042": ("a red mug",), "b": ("bowl", "deep bowl")}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("n.csv", "label,text\n0042,a  red mug\nb,bowl\nb,deep bowl\nb,bowl\n"),
        ("n.csv", "text;label;other\na red mug;0042;\nbowl;b;\ndeep bowl;b;\n"),
        ("n.tsv", "label\tmeaning\n0042\ta red mug\nb\tbowl\nb\tdeep bowl\n"),
        ("n.json", json.dumps({"0042": "a red mug", "b": ["bowl", "deep bowl"]})),
        ("n.json", "\ufeff" + json.dumps({"0042": "a red mug", "b": ["bowl", "deep bowl"]})),
        ("n.yaml", "0042: a red mug\nb: [bowl, deep bowl]\n"),
        ("n.txt", "\ufeff0042\ta red mug\n\nb\tbowl\r\nb\tdeep bowl\n"),
    ],
)
def test_every_format_gives_the_same(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert read_names(tmp_path / name) == EXPECTED


def test_a_line_without_a_tab_is_a_label_that_is_its_own_text(tmp_path: Path) -> None:
    (tmp_path / "n.txt").write_text("red mug\nbowl\n")
    assert read_names(tmp_path / "n.txt") == {"red mug": ("red mug",), "bowl": ("bowl",)}


@pytest.mark.parametrize(
    ("name", "content", "code", "message"),
    [
        (
            "n.csv",
            "label,a,b\n1,2,3\n",
            "missing-column",
            "needs the columns label and text; columns found: label, a, b",
        ),
        ("n.txt", "a\t\n", "empty-value", "n.txt:1: the text of 'a' is empty"),
        ("n.txt", "\n", "empty-table", "has no names"),
        ("n.json", "[1]", "wrong-type", "must be label: text"),
        ("n.json", '{"a": null}', "wrong-type", "the text of 'a' must be a text or a list of texts, got nothing"),
        ("n.json", "{", "damaged-file", "n.json:1: column 2: a label in double quotes is missing"),
        ("n.json", '{"a": "b"\n"c": "d"}', "damaged-file", "n.json:2: column 1: a comma is missing before it"),
        ("n.json", '{"a": b}', "damaged-file", "n.json:1: column 7: a text in double quotes is missing"),
        ("n.json", "[" * 100_000, "damaged-file", "it is nested too deeply"),
        ("n.json", '{"é": "b",\n "\\u00e9": "c", "b": {"x": 1, "x": 2}}', "repeated-key", "label 'é' is there twice"),
        ("n.json", '{"a": "b",\n "c": "d",\n "a": "e"}', "repeated-key", "n.json:3: label 'a' is there twice"),
        ("n.yaml", "a: &x b\nc: !!set {}\n", "unsupported-yaml", "n.yaml:2"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, name: str, content: str, code: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError) as error:
        read_names(tmp_path / name)
    assert error.value.code == code
    assert message in str(error.value)


def test_a_missing_file_and_one_that_is_not_utf_8_are_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file; `names` is a file with a text for each label"):
        read_names(tmp_path / "n.csv")
    (tmp_path / "n.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(DataError, match="is not UTF-8 text"):
        read_names(tmp_path / "n.txt")


def test_only_an_end_of_a_line_ends_a_name(tmp_path: Path) -> None:
    (tmp_path / "n.txt").write_text("a\tred\u2028mug\x0cround\rb\tbowl", encoding="utf-8")
    assert read_names(tmp_path / "n.txt") == {"a": ("red mug round",), "b": ("bowl",)}


def test_a_folder_and_a_device_are_no_files_of_names(tmp_path: Path) -> None:
    for path, reason in ((tmp_path, "is a folder; `names` is a file"), (Path("/dev/null"), "is a pipe or a device")):
        with pytest.raises(DataError, match=reason) as error:
            read_names(path)
        assert error.value.code == "not-a-file"
