"""Files that give a text for each label."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from eml.config.loading import read_document
from eml.config.locations import located
from eml.config.text import shown
from eml.dataset.problems import SHOWN, column_names
from eml.dataset.table_files import read_frame
from eml.dataset.table_names import is_csv, is_parquet
from eml.errors import DataError, EmlError, Problem
from eml.files import NO_PATH, is_path, refuse_pipe
from eml.json_files import MOST_BYTES_OF_LISTS, parse_json
from eml.texts.templates import one_line
from eml.units import MIB

FORMATS = "CSV with the columns label and text, JSON or YAML of label: text, or a .txt of lines LABEL<TAB>TEXT"
TEXT_COLUMNS = ("text", "name", "description")
"""Columns of a table of names that hold the texts, the likeliest first."""
JSON_FAULTS = {
    "Expecting value": "a text in double quotes is missing",
    "Expecting property name enclosed in double quotes": "a label in double quotes is missing",
    "Illegal trailing comma before end of object": "there is a comma after the last label",
    "Illegal trailing comma before end of array": "there is a comma after the last text",
    "Expecting ',' delimiter": "a comma is missing before it",
    "Expecting ':' delimiter": "a colon is missing before it",
    "Extra data": "there is more after the end of the names",
    "Unterminated string starting at": "a text that begins here has no closing quotation mark",
    "Invalid control character at": "a line break or tab stands within a text; write it as \\n or \\t",
    "Invalid \\escape": "a backslash stands before a character that it cannot; write two",
}
"""Python's words for what is wrong in JSON, and those for a file of names."""


def read_names(path: Path) -> dict[str, tuple[str, ...]]:
    """Return label → its texts, in the order of the file; a label on several lines has several.

    A line of a .txt without a tab is a label that is its own text.

    Raises:
        DataError: The file cannot be read, or it gives no text.
    """
    if not is_path(str(path)):
        raise DataError(f"{shown(str(path))} is {NO_PATH}", code="missing-file", parameter="names")
    if not path.is_file():
        fault, code = "no such file", "missing-file"
        if path.exists():
            fault, code = "is a folder" if path.is_dir() else "is a pipe or a device", "not-a-file"
        text = f"{path}: {fault}; `names` is a file with a text for each label: {FORMATS}"
        raise DataError(text, code=code, parameter="names")
    pairs = _pairs(path)
    texts: dict[str, list[str]] = {}
    problems: list[str] = []
    for place, label, text in pairs:
        if not label or not text:
            reason = f"{place}: {'the label' if not label else f'the text of {label!r}'} is empty"
            problems.append(Problem(reason, "empty-value", "names"))
        elif text not in texts.setdefault(label, []):
            texts[label].append(text)
    if problems:
        more = [f"{path}: and {len(problems) - SHOWN:,} more"] if len(problems) > SHOWN else []
        raise DataError([*problems[:SHOWN], *more], parameter="names")
    if not texts:
        raise DataError(f"{path}: has no names; it is {FORMATS}", code="empty-table", parameter="names")
    return {label: tuple(own) for label, own in texts.items()}


def _pairs(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield (place, label, text) as the file has them."""
    if is_csv(path) or is_parquet(path):
        return _of_table(path)
    if path.suffix.lower() in (".json", ".yaml", ".yml"):
        return _of_mapping(path)
    return _of_lines(path)


def _of_table(path: Path) -> Iterator[tuple[str, str, str]]:
    frame, _ = read_frame(path, ("label", *TEXT_COLUMNS))
    others = [name for name in frame.columns if name != "label"]
    column = next((name for name in TEXT_COLUMNS if name in others), others[0] if len(others) == 1 else None)
    if "label" not in frame.columns or column is None:
        text = f"{path}: needs the columns label and text; columns found: {column_names(frame.columns)}"
        raise DataError(text, code="missing-column", parameter="names")
    for row, (label, text) in enumerate(zip(frame["label"], frame[column], strict=True), 1):
        yield f"{path}: row {row}", str(label).strip(), "" if text is None else one_line(str(text))


def _of_mapping(path: Path) -> Iterator[tuple[str, str, str]]:
    try:
        if path.suffix.lower() == ".json":
            value = _of_json(path)
        else:
            document = read_document(path)
            if document.problems:
                raise DataError(located(document.problems), code="unsupported-yaml", parameter="names")
            value = document.value
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}", code="damaged-file", parameter="names") from error
    except EmlError as error:
        raise DataError(error.problems, parameter="names") from error
    if not isinstance(value, dict):
        text = f"{path}: must be label: text, with a text or a list of texts for each label"
        raise DataError(text, code="wrong-type", parameter="names")
    for label, texts in value.items():
        for text in texts if isinstance(texts, list) and texts else [texts]:
            if not isinstance(text, str | int | float) or isinstance(text, bool):
                problem = f"{path}: the text of {label!r} must be a text or a list of texts, got {shown(text)}"
                raise DataError(problem, code="wrong-type", parameter="names")
            yield str(path), str(label).strip(), one_line(str(text))


def _of_json(path: Path) -> object:
    """Return what the JSON in a file says. Raises DataError for a label that is there twice, of which one would win."""
    text = _text(path)
    try:
        value = parse_json(text)
    except json.JSONDecodeError as error:
        reason = JSON_FAULTS.get(error.msg.removesuffix(":"), "it is no JSON from here on")
        place = f"{path}:{error.lineno}: column {error.colno}"
        raise DataError(f"{place}: {reason}", code="damaged-file", parameter="names") from error
    labels = json.loads(text, object_pairs_hook=lambda pairs: [label for label, _ in pairs])
    repeated = [label for label, count in Counter(labels).items() if count > 1] if isinstance(value, dict) else []
    if repeated:
        problems = [
            f"{path}{_second_line(text, label)}: label {label!r} is there twice; give it a list of texts"
            for label in repeated
        ]
        more = [f"{path}: and {len(problems) - SHOWN:,} more"] if len(problems) > SHOWN else []
        raise DataError([*problems[:SHOWN], *more], code="repeated-key", parameter="names")
    return value


def _second_line(text: str, label: str) -> str:
    """Return `:7`, the line on which a label is written for the second time; empty where it is written oddly."""
    for written in (json.dumps(label, ensure_ascii=False), json.dumps(label)):
        places = [match.start() for match in re.finditer(re.escape(written) + r"\s*:", text)]
        if len(places) > 1:
            return f":{text.count(chr(10), 0, places[1]) + 1}"
    return ""


def _of_lines(path: Path) -> Iterator[tuple[str, str, str]]:
    for number, line in enumerate(_lines(path), 1):
        label, tab, text = line.partition("\t")
        if line.strip():
            yield f"{path}:{number}", label.strip(), one_line(text) if tab else one_line(label)


def _lines(path: Path) -> Iterable[str]:
    """Return the lines of a file; signs that other programs take for ends of lines may stand in a text."""
    return re.split(r"\r\n|\n|\r", _text(path))


def _text(path: Path) -> str:
    try:
        refuse_pipe(path)
        with path.open("rb") as file:
            data = file.read(MOST_BYTES_OF_LISTS + 1)
        if len(data) > MOST_BYTES_OF_LISTS:
            raise ValueError(f"it has more than {MOST_BYTES_OF_LISTS // MIB:,} MiB")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text; save it as UTF-8", code="not-utf-8", parameter="names") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}", code="damaged-file", parameter="names") from error
