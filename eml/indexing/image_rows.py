"""Rows of the table `images`: from a frame with any columns, and back, with a checksum of each."""

import json
import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from eml.errors import DataError, Problem
from eml.files import is_utf8
from eml.indexing.state import Kind, StoredColumn

OWN: dict[str, Kind] = {"id": "number", "file_name": "text", "label": "text", "content": "text"}
"""The columns that each index has."""
MOST_COLUMNS = 1000  # SQLite binds and keeps twice as many
LARGEST = 2**63 - 1

Value = str | int | float | None
Row = tuple[Value, ...]


@dataclass(frozen=True)
class PreparedRows:
    """The rows of a frame as the table takes them.

    Attributes:
        file_names: Of each row; None for none.
        labels: Of each row; None for none.
        contents: Hash of the file's content of each row; None where it is unknown.
        columns: The user's columns that the rows have, old and new ones.
        values: Of each row, a value for each of the columns.
    """

    file_names: list[str | None]
    labels: list[str | None]
    contents: list[str | None]
    columns: tuple[StoredColumn, ...]
    values: list[Row]


def prepare_rows(frame: pd.DataFrame, stored: Sequence[StoredColumn]) -> PreparedRows:
    """Return the rows of a frame as the table takes them.

    Args:
        frame: The columns `file_name`, `label` and `content`, none of which is needed, and any others.
        stored: The columns that the table has.

    Raises:
        DataError: A column cannot be stored, or holds another kind of value than before; all problems at once.
    """
    names = [str(name) for name in frame.columns]
    problems = _name_problems(names, stored)
    texts = [_texts(frame, name) for name in ("file_name", "label", "content")]
    known, columns, values = {column.name: column for column in stored}, [], []
    fresh = len(stored)
    for name in () if problems else names:
        if name in OWN:
            continue
        column = known.get(name)
        try:
            kind, items = _column_values(name, frame[name], column.kind if column else None)
        except ValueError as error:
            problems.append(Problem(f"column {name!r}: {error}", "wrong-type"))
            continue
        if kind is None:
            continue  # nothing in it says what it is for
        if column is None:
            column = StoredColumn(name, f"c{fresh}", kind)
            fresh += 1
        columns.append(column)
        values.append(items)
    if fresh > MOST_COLUMNS:
        problems.append(Problem(f"an index has at most {MOST_COLUMNS:,} columns, got {fresh:,}", "out-of-range"))
    problems += [
        Problem(f"{name} {text!r} is not UTF-8: rename the file or its class", "unusable-name")
        for name, column_texts in zip(("file name", "label"), texts, strict=False)
        for text in column_texts
        if text is not None and not is_utf8(text)
    ][:10]
    if problems:
        raise DataError(problems)
    rows: list[Row] = list(zip(*values, strict=True)) if values else [()] * len(frame)
    return PreparedRows(texts[0], texts[1], texts[2], tuple(columns), rows)


def row_checksum(own: Sequence[Value], fields: Iterable[str], values: Iterable[Value]) -> int:
    """Return the checksum of a row: its id, file name, label and content, and its other values by field."""
    filled = [(field, value) for field, value in zip(fields, values, strict=True) if value is not None]
    return zlib.crc32(json.dumps([own, filled]).encode())


def to_frame(rows: Sequence[Row], columns: Sequence[StoredColumn]) -> pd.DataFrame:
    """Return rows of (id, file_name, label, content, values …) as a frame; a missing text of the first four is ""."""
    frame = pd.DataFrame({"id": np.array([row[0] for row in rows], dtype=np.int64)})
    for place, name in enumerate(OWN):
        if name != "id":
            frame[name] = pd.Series(["" if row[place] is None else row[place] for row in rows], dtype=object)
    for place, column in enumerate(columns, len(OWN)):
        items = [row[place] for row in rows]
        frame[column.name] = _series(items, column.kind)
    return frame


def _series(items: list[Value], kind: Kind) -> "pd.Series[Any]":
    """Return values as a column: numbers in their type, true and false as such, text with None where it is missing."""
    if kind == "text":
        return pd.Series(items, dtype=object)
    if kind == "bool":
        flags = [None if item is None else bool(item) for item in items]
        return pd.Series(flags, dtype=object if None in flags else bool)
    return pd.Series(items, dtype=None if items else float)


def _name_problems(names: list[str], stored: Sequence[StoredColumn]) -> list[str]:
    problems: list[str] = [
        Problem(f"column {name!r} is in the table twice", "repeated-column")
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    if "id" in names:
        text = "column 'id': an index gives the ids itself; rename the column, or leave it out"
        problems.append(Problem(text, "reserved-column"))
    spelling = {name.casefold(): name for name in (*OWN, *(column.name for column in stored))}
    for name in names:
        before = spelling.setdefault(name.casefold(), name)
        if before != name:
            text = f"column {name!r} differs from {before!r} in upper and lower case only: rename one"
            problems.append(Problem(text, "repeated-column"))
    return problems


def _texts(frame: pd.DataFrame, name: str) -> list[str | None]:
    """Return a column as text, None for what is missing or empty, or if there is no such column."""
    if name not in frame:
        return [None] * len(frame)
    series = frame[name]
    missing = series.isna().to_numpy()
    return [
        None if gone or value == "" else str(value)
        for value, gone in zip(series.tolist(), missing.tolist(), strict=True)
    ]


def _column_values(name: str, series: "pd.Series[Any]", kind: Kind | None) -> tuple[Kind | None, list[Value]]:
    """Return the kind of a column and its values as the table takes them.

    Raises:
        ValueError: They cannot be stored, or not as the kind that the column has.
    """
    missing = series.isna().to_numpy().tolist()
    plain: list[Value] = [None if gone else _plain(value) for value, gone in zip(series.tolist(), missing, strict=True)]
    types = {type(value) for value in plain if value is not None}
    if not types:
        return kind, plain
    own: Kind = "bool" if types == {bool} else "number" if types <= {int, float} else "text"
    if kind is None or kind == own:
        kind = own
    elif kind == "number" and own == "text":
        plain = [_as_number(value) for value in plain]
    elif kind != "text":
        raise ValueError(f"the index holds {_SPOKEN[kind]} in it, got {_SPOKEN[own]}")
    if kind == "text":
        plain = [None if value is None else str(value) for value in plain]
    elif kind == "bool":
        plain = [None if value is None else int(value) for value in plain]
    elif any(isinstance(value, int) and not -LARGEST <= value <= LARGEST for value in plain):
        raise ValueError("it has whole numbers of more than 63 bits; write them as text")
    if kind == "text" and not all(value is None or is_utf8(str(value)) for value in plain):
        raise ValueError("it has text that is not UTF-8")
    return kind, plain


_SPOKEN: dict[str, str] = {"number": "numbers", "text": "text", "bool": "true and false"}


def _plain(value: Any) -> str | int | float | bool:
    """Return a value of a cell as one of Python's own. Raises ValueError for lists and the like."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    if hasattr(value, "__float__") and not isinstance(value, np.ndarray):
        return float(value)
    raise ValueError(f"a value must be text, a number, or true or false, got {type(value).__name__}")


def _as_number(value: Value) -> Value:
    if not isinstance(value, str):
        return value
    try:
        return int(value)
    except ValueError:
        pass
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f"the index holds numbers in it, got {value!r}") from None
    return None if math.isnan(number) else number
