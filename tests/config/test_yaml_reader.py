import math
from pathlib import Path

import pytest

from eml.config import load
from eml.config.locations import SourceLocation
from eml.config.yaml_reader import read_yaml
from eml.errors import ConfigError
from tests.config.config_house import House, Reader


def value(text: str) -> object:
    return read_yaml(text, lambda line: SourceLocation(0, line, str(line))).value


@pytest.mark.parametrize(
    "text, expected",
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        (".5", 0.5),
        ("5.", 5.0),
        ("-0.5e+3", -500.0),
        ("-.inf", -math.inf),
        ("12", 12),
        ("+3", 3),
        ("-0", 0),
        ("0x1F", 31),
        ("0o17", 15),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("''", ""),
        ("1:30", "1:30"),
        ("012", "012"),
        ("007.5", "007.5"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("2024-01-02", "2024-01-02"),
        ("2024-01-02 03:04:05", "2024-01-02 03:04:05"),
        ("1e", "1e"),
        (".", "."),
        ("=", "="),
        ("'true'", "true"),
        ("'12'", "12"),
        ("é🙂", "é🙂"),
    ],
)
def test_scalar_follows_yaml_1_2(text: str, expected: object):
    for found in (value(f"a: {text}"), {"a": value(f"[{text}]")[0]}):  # type: ignore[index]
        assert found == {"a": expected}
        assert type(found["a"]) is type(expected)  # type: ignore[index]


def test_nan_and_blank_value():
    assert math.isnan(value("a: .nan")["a"])  # type: ignore[index]
    assert value("a:\nb: 1") == {"a": None, "b": 1}


def test_keys_are_text_as_written():
    assert value("{1: a, true: b, no: c, 007: d}") == {"1": "a", "true": "b", "no": "c", "007": "d"}


def test_alias_repeats_a_value_without_sharing_it():
    found = value("a: &x {b: 1}\nc: *x")
    assert found == {"a": {"b": 1}, "c": {"b": 1}}
    assert found["a"] is not found["c"]  # type: ignore[index]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("data: a\nname: b\ndata: c\n", "run.yaml:3: data is given twice, first on line 1"),
        ("data: a\nmargin:\n  type: arcface\n  m: 1\n  m: 2", "run.yaml:5: margin.m is given twice, first on line 4"),
        ("data: a\n<<: {name: b}", "run.yaml:2: merge keys (<<) are not supported; write the keys out"),
        ("data: a\nnotes: &n\n  self: *n", "run.yaml:3: notes.self is an alias of a section that contains it"),
        (
            "data: a\nnotes: {a: !!python/name:os.system x}",
            "run.yaml:2: the tag !!python/name:os.system is not supported; write the plain value",
        ),
        ("data: a\nname: !!str 12", "run.yaml:2: the tag !!str is not supported; write the plain value"),
        ("data: a\nnotes: {? [a, b] : 1}", "run.yaml:2: a key must be a plain word"),
        (f"data: a\nnotes: {{n: {'9' * 5000}}}", "run.yaml:2: notes.n is not a number that can be read"),
        ("data: a\nname: [b", "run.yaml:2: not YAML: expected ',' or ']', but got '<stream end>'"),
        (
            "data: a\nname: 'b\nsize: 3\n",
            "run.yaml:4: not YAML: found unexpected end of stream while scanning a quoted scalar that begins on line 2",
        ),
        ("data: a\nnotes:\n\tb: 1", "run.yaml:3: not YAML: a tab; indent with spaces"),
        ("data: a\n---\nname: b", "run.yaml:2: not YAML: a second document begins (---); a config is one"),
        ("data: a\nname: *b", "run.yaml:2: not YAML: found undefined alias 'b'"),
        ("data: a\nname: b\x07", "run.yaml:2: not YAML: the control character U+0007"),
        ("data: " + "[" * 1000, "run.yaml:1: is nested too deeply"),
        ("", "run.yaml:1: is empty; required: data"),
        ("# only\n# comments\n", "run.yaml:1: is empty; required: data"),
        ("- data: a", "run.yaml:1: must be a section (key: value), got [{'data': 'a'}]"),
        ("\n\ndata", "run.yaml:3: must be a section (key: value), got 'data'"),
        (
            b"data: a\nname: caf\xe9",
            "run.yaml:2: is not UTF-8 text (byte 0xe9 at offset 17); save it as UTF-8",
        ),
    ],
)
def test_yaml_error_names_file_and_line(reader: Reader, text: str | bytes, expected: str):
    assert reader.problems(text) == [expected]


def test_quoted_merge_key_is_an_ordinary_key(reader: Reader):
    assert reader.load("data: a\nnotes: {'<<': 1}").notes == {"<<": 1}


def test_aliases_cannot_blow_up_memory(reader: Reader):
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 9)]
    problems = reader.problems("data: a\nnotes:\n  l0: &l0 [0]\n  " + "\n  ".join(levels))
    assert "aliases make more than 10000 values of this file" in problems[0]


def test_byte_order_mark_is_skipped(reader: Reader):
    assert reader.load(b"\xef\xbb\xbfname: a\ndata: x").name == "a"


def test_empty_file_of_optional_keys_asks_for_braces(tmp_path: Path):
    from tests.config.config_house import Optimizer

    path = tmp_path / "o.yaml"
    path.write_text("")
    with pytest.raises(ConfigError, match=r"o.yaml:1: is empty; write \{\} to take every default$"):
        load(Optimizer, path)
    path.write_text("{}")
    assert load(Optimizer, path) == Optimizer()


def test_file_that_is_missing_or_a_folder(reader: Reader):
    with pytest.raises(ConfigError, match=r"^no\.yaml: there is no such file$"):
        load(House, "no.yaml")
    Path("runs").mkdir()
    with pytest.raises(ConfigError, match=r"^runs: is a folder; give the config file in it$"):
        load(House, Path("runs"))


@pytest.mark.parametrize(
    "text, reason",
    [
        (r'data: "\U00110000"', "not YAML: chr() arg not in range"),
        ("size: 0x" + "f" * 9000, "size is not a number that can be read"),
        ("size: 0o" + "7" * 9000, "size is not a number that can be read"),
        ("size: " + "9" * 9000, "size is not a number that can be read"),
        (r'name: "\uD800"', r"name has half a character, got '\ud800'"),
        (r'"\uD800": 1', "a key has half a character"),
        ("notes: " + "{a: " * 200 + "1" + "}" * 200, "notes.a.a…: is nested too deeply; at most 32 sections"),
        ("notes: " + "[" * 200 + "1" + "]" * 200, "notes.0.0…: is nested too deeply; at most 32 sections"),
        ("notes: " + "{a: " * 5000, "is nested too deeply"),
        (
            "a: &a [1,1,1,1,1,1]\n"
            + "".join(f"{y}: &{y} [{f'*{x},' * 9}]\n" for x, y in zip("abcdef", "bcdefg", strict=True)),
            "10000",
        ),
        ("notes: {a: " + "x" * 2**20 + "}", "has more than 1 MiB, so it is no config"),
        (r'data: "a\0b"', r"is no path of a file: it has a character that file systems do not take"),
        (
            "data: " + "x" * 256,
            "is no path of a file: it has a character that file systems do not take, or is too",
        ),
        ("data: " + "x/" * 2100, "is no path of a file"),
    ],
)
def test_what_no_config_needs_is_refused(reader: Reader, text: str, reason: str) -> None:
    problems = reader.problems(text)
    assert any(reason in problem for problem in problems), problems
    assert all(len(problem) < 500 for problem in problems)


@pytest.mark.parametrize(
    "override, reason",
    [
        (".".join(["a"] * 600) + "=1", "the key has 600 parts; at most 32 lie within one another"),
        ("sections." + "9" * 5000 + "=1", "sections is a list and needs an index"),
        ("notes=" + "[" * 600 + "]" * 600, "is nested too deeply"),
        ('data="a\\0b"', "is no path of a file"),
    ],
)
def test_overrides_are_bounded_alike(reader: Reader, override: str, reason: str) -> None:
    assert any(reason in problem for problem in reader.problems("data: x\nsections: [{lr: 1}]", override))


def test_a_config_file_with_an_impossible_name_is_told() -> None:
    with pytest.raises(ConfigError, match="is no path of a file"):
        load(House, "x" * 300)
