"""JSON that anybody may have written is read whole or refused with a line that says why."""

from pathlib import Path
from typing import Any

import pytest

from eml.json_files import is_json_with, parse_json, read_json, read_json_lines


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("[" * 100_000, Any, "it is nested too deeply"),
        ('{"a": "\\ud800"}', Any, "half a character"),
        ("NaN", Any, "NaN is no number of JSON"),
        ("[-1e999]", Any, "-1e999 is too large a number"),
        ("9" * 5000, Any, "Exceeds the limit"),
        ('{"a": 1', Any, "Expecting ',' delimiter"),
        ('["a", 1]', list[str], "^1: Input should be a valid string"),
        ('["a"]', dict[str, Any], "^Input should be a valid dictionary"),
    ],
)
def test_what_cannot_be_used_has_a_reason_of_one_line(text: str, kind: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as error:
        parse_json(text, kind)
    assert "\n" not in str(error.value)


def test_files_are_bounded_and_lines_counted(tmp_path: Path) -> None:
    file = tmp_path / "f.json"
    file.write_text('{"a": "Müller \\ud83d\\ude00"}\n')
    assert read_json(file, dict[str, str]) == {"a": "Müller 😀"}
    assert is_json_with(file, {"a"})
    assert not is_json_with(file, {"a", "b"})
    with pytest.raises(ValueError, match="it has more than 0 MiB"):
        read_json(file, most_bytes=20)
    file.write_text('{"a": 1}\n{"a": 2}\n{"a":')
    assert read_json_lines(file, dict[str, Any], cut=True) == [{"a": 1}, {"a": 2}]
    with pytest.raises(ValueError, match="line 3: Expecting value"):
        read_json_lines(file, dict[str, Any])
