"""The known columns of a table and their types. Every other column is carried along unchanged (from CSV as text)."""

import posixpath
import re
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.problems import RowProblems, short_repr
from eml.errors import Problem

REQUIRED = ("label", "file_name")
WHOLE_NUMBERS = ("width", "height", "bytes", "fold")  # every row has one
BOX = ("x_1", "y_1", "x_2", "y_2")  # pixels, right and bottom exclusive; may be blank
SIZE = ("width", "height")
FLAGS = ("is_query", "is_gallery")  # may be blank
TEXTS = ("hash", "hash_kind", "content", "format", "mode", "split", "dataset")
SCANNED_FLAGS = ("is_blank",)  # may be blank
KNOWN = (*REQUIRED, *WHOLE_NUMBERS, *BOX, *FLAGS, *SCANNED_FLAGS, *TEXTS)

LONGEST_TEXT = 1_000  # characters of a label and of the other known texts; paths have a limit of their own

ALWAYS_TRAIN, ALWAYS_TEST = -1, -2  # in `fold`: in no fold's validation; never looked at while training

LARGEST = 2**31 - 1
_BOUNDS = {"width": (1, LARGEST), "height": (1, LARGEST), "bytes": (0, 2**63 - 1), "fold": (ALWAYS_TEST, LARGEST)}
_BOX_BOUNDS = (-LARGEST, LARGEST)  # which of them make a box is another rule
_WHOLE = re.compile(r" *([+-]?[0-9]{1,19})(?:\.0*)? *")


def parse_columns(frame: pd.DataFrame, problems: RowProblems) -> pd.DataFrame:
    """Return the table with the known columns in their types.

    Args:
        frame: A table with at least the required columns.
        problems: Receives the values that do not fit, with the row's index.
    """
    frame = frame.copy()
    for name in (*REQUIRED, *TEXTS):
        if name in frame.columns:
            frame[name] = as_text(frame[name], problems)
    odd = frame["file_name"].str.contains(r"(?:^|/)\.(?:/|$)|//", regex=True)  # "./a.jpg" and "a.jpg" are one image
    frame.loc[odd, "file_name"] = frame.loc[odd, "file_name"].map(posixpath.normpath)
    number_problems: RowProblems = []
    for name in (*WHOLE_NUMBERS, *BOX):
        if name in frame.columns:
            frame[name] = _as_whole(frame[name], number_problems, name in BOX)
    problems += number_problems
    for name in (*FLAGS, *SCANNED_FLAGS):
        if name in frame.columns:
            frame[name] = _as_flags(frame[name], problems)
    no_numbers = {row for row, _ in number_problems}
    problems += [(row, text) for row, text in _box_problems(frame) if row not in no_numbers]
    return frame


def _box_problems(frame: pd.DataFrame) -> RowProblems:
    """Return the boxes that are not valid; they must not be taken for the whole image."""
    present = [name for name in BOX if name in frame.columns]
    if not present:
        return []
    if len(present) < len(BOX):
        text = f"a box needs the columns {', '.join(BOX)}; found only {', '.join(present)}"
        return [(-1, Problem(text, "missing-column"))]
    box = frame[present]
    filled = box.notna()
    numbers = box.fillna(0).astype("int64")
    ordered = (numbers["x_1"] < numbers["x_2"]) & (numbers["y_1"] < numbers["y_2"])
    valid = filled.all(axis=1) & (numbers >= 0).all(axis=1) & ordered
    rule = "a box must have 0 ≤ x_1 < x_2 and 0 ≤ y_1 < y_2, or all four blank, got"
    problems: RowProblems = [
        (row, Problem(f"{rule} {', '.join(map(str, box.loc[row]))}", "invalid-box"))
        for row in frame.index[filled.any(axis=1) & ~valid]
    ]
    if {"width", "height"} <= set(frame.columns):
        known = valid & (frame["width"] > 0) & (frame["height"] > 0)  # sizes that are wrong are reported elsewhere
        beyond = known & ((numbers["x_2"] > frame["width"]) | (numbers["y_2"] > frame["height"]))
        for row in frame.index[beyond]:
            problems.append((row, box_beyond_image(frame, row, frame["width"][row], frame["height"][row])))
    return problems


def box_beyond_image(frame: pd.DataFrame, row: int, width: int, height: int) -> Problem:
    """Return the problem of a box that reaches out of its image of `width` × `height` pixels."""
    box = ", ".join(str(frame[name][row]) for name in BOX)
    text = f"box {box} is not within the {width} × {height} pixels of {short_repr(frame['file_name'][row])}"
    return Problem(text, "invalid-box")


def boxed(frame: pd.DataFrame) -> "pd.Series[bool]":
    """Return (N,) whether a row is a box of an image; the other rows are whole images."""
    return frame[BOX[0]].notna() if set(BOX) <= set(frame.columns) else pd.Series(False, index=frame.index)


def seen_sizes(frame: pd.DataFrame) -> pd.DataFrame | None:
    """Return `width, height` in pixels of the part that the network sees: the box, else the image. None if unknown."""
    boxes, known = boxed(frame), set(SIZE) <= set(frame.columns)
    if not known and not boxes.all():
        return None
    sizes = frame[list(SIZE)].copy() if known else pd.DataFrame(0, index=frame.index, columns=list(SIZE))
    if boxes.any():
        for side, low, high in (("width", "x_1", "x_2"), ("height", "y_1", "y_2")):
            sizes.loc[boxes, side] = (frame[high] - frame[low])[boxes].astype("int64")
    return sizes


def has_query_gallery(frame: pd.DataFrame) -> bool:
    """Return whether the table has is_query and is_gallery, and a value in at least one row."""
    return set(FLAGS) <= set(frame) and bool(frame[list(FLAGS)].notna().any(axis=None))


def query_or_gallery_rows(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Return (N,) whether a row is query or gallery; True for all rows of a table without these values."""
    if not has_query_gallery(frame):
        return np.ones(len(frame), bool)
    return frame[list(FLAGS)].fillna(False).any(axis=1).to_numpy(bool)


def as_text(column: "pd.Series[Any]", problems: RowProblems) -> "pd.Series[Any]":
    """Return a column of text; decimal numbers, times and lists, which have no one spelling, are a problem."""
    kind = pd.api.types.infer_dtype(column.dropna().astype(object), skipna=True)
    if kind in ("floating", "decimal", "mixed-integer-float"):
        text = f"column '{column.name}' holds decimal numbers, and 7.0 may have been 7 or 007; write it as text"
        problems.append((-1, Problem(text, "invalid-value")))
    elif kind not in ("string", "integer", "boolean", "empty"):
        text = f"column '{column.name}' holds neither text nor whole numbers ({kind}); write it as text"
        problems.append((-1, Problem(text, "invalid-value")))
    elif kind == "string" and column.name in (REQUIRED[0], *TEXTS):
        column = _cut_long(column, problems)
    return column.astype(str).where(column.notna(), "")


def _cut_long(column: "pd.Series[Any]", problems: RowProblems) -> "pd.Series[Any]":
    """Return the texts, of at most `LONGEST_TEXT` characters; longer ones, which are no names, are problems."""
    lengths = column.str.len().fillna(0)
    long = column.index[lengths > LONGEST_TEXT]
    rule = f"{column.name} must have at most {LONGEST_TEXT:,} characters, got"
    problems += [
        (int(row), Problem(f"{rule} {int(lengths[row]):,}: {short_repr(column[row])}", "invalid-value")) for row in long
    ]
    return column.str[:LONGEST_TEXT] if len(long) else column


def _as_whole(column: "pd.Series[Any]", problems: RowProblems, blank: bool) -> "pd.Series[Any]":
    """Return whole numbers within the column's bounds. Others, and blanks unless they are allowed, are problems."""
    low, high = _BOUNDS.get(str(column.name), _BOX_BOUNDS)
    places, cells = _distinct(column)
    numbers = [whole_number(cell) for cell in cells]
    fitting = [number is not None and low <= number <= high for number in numbers]
    fits = np.array(fitting, bool)[places]
    blanks = [isinstance(cell, str) and cell == "" for cell in cells]
    empty = column.isna().to_numpy(bool) | np.array(blanks, bool)[places]
    wrong = ~fits & ~empty if blank else ~fits
    limits = f"from {low:,} to {high:,}" if low > -LARGEST else f"of at most {high:,}"
    kind = f"a whole number {limits} or blank" if blank else f"a whole number {limits}"
    problems += [
        (int(row), Problem(f"{column.name} must be {kind}, got {short_repr(value)}", "invalid-value"))
        for row, value in zip(column.index[wrong], column[wrong], strict=True)
    ]
    whole = np.array([number if fit else 0 for number, fit in zip(numbers, fitting, strict=True)], np.int64)[places]
    series = pd.Series(whole, index=column.index, name=column.name)
    return series.astype("Int64").mask(~fits) if blank else series


def _distinct(column: "pd.Series[Any]") -> tuple[NDArray[np.int64], list[Any]]:
    """Return (N,) the place of each cell among the distinct ones, and these; of text, else all count as distinct."""
    values = column.astype(object)
    if pd.api.types.infer_dtype(values, skipna=False) != "string":
        return np.arange(len(values)), values.tolist()
    places, cells = pd.factorize(values)
    return places.astype(np.int64), list(cells)


def whole_number(value: object) -> int | None:
    """Return the whole number that a cell says, exactly; None where it says none, as True, 0x10, 1e3 or 5.5 do."""
    if isinstance(value, str):
        if value.isascii() and value.isdigit() and len(value) < 19:
            return int(value)
        match = _WHOLE.fullmatch(value)
        return int(match[1]) if match else None
    if isinstance(value, bool | np.bool_):
        return None
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return int(value) if float(value).is_integer() else None
    if isinstance(value, Decimal):
        return whole_number(f"{value:f}") if value.is_finite() and value.adjusted() < 19 else None
    return None


def _as_flags(column: "pd.Series[Any]", problems: RowProblems) -> "pd.Series[Any]":
    meaning = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
    text = column.astype(str).str.lower().where(column.notna(), "")
    wrong = ~text.isin([*meaning, ""])
    problems += [
        (row, Problem(f"{column.name} must be True, False or blank, got {short_repr(column[row])}", "invalid-value"))
        for row in column.index[wrong]
    ]
    return text.map(meaning).astype("boolean")


def repeated_rows(frame: pd.DataFrame) -> RowProblems:
    """Return the rows that repeat an image; an image stands once, or once for each of its boxes."""
    has_boxes = set(BOX) <= set(frame.columns)
    again = frame.duplicated(["file_name", *BOX] if has_boxes else ["file_name"])
    same = "occurs more than once with the same box" if has_boxes else "occurs more than once"
    return [
        (row, Problem(f"{short_repr(frame['file_name'][row])} {same}", "repeated-image")) for row in frame.index[again]
    ]
