"""Problems with the rows of a table: (row, text) pairs, and the lines of the file that they become."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from eml.errors import Problem

RowProblems = list[tuple[int, str]]
"""(row, text), the text as a rule a `Problem` with its code. Row −1 is the table as a whole."""

SHOWN = 20  # problems listed; the rest are counted

# A component "..", a leading "/", a drive: none of them stays under the root (backslashes, for tables from Windows).
LEAVES_ROOT = r"^/|^\\|^[A-Za-z]:[\\/]|(?:^|[/\\])\.\.(?:$|[/\\])"


def path_problems(names: "pd.Series[Any]", column: str = "file_name") -> RowProblems:
    """Return the file names that are empty, absolute, or lead out of the root.

    Args:
        names: The file names.
        column: The column's name in the file.
    """
    problems: RowProblems = [(row, Problem(f"{column} is empty", "empty-value")) for row in names.index[names == ""]]
    for row in names.index[names.str.contains(LEAVES_ROOT, regex=True)]:
        text = f"{column} must stay under the root: relative and without '..', got {names[row]!r}"
        problems.append((row, Problem(text, "path-outside-root")))
    return problems


def file_problems(source: Path, names: "pd.Series[Any]", root: Path) -> RowProblems:
    """Return the images that do not exist; one problem at row −1 when none exists, since then the root is wrong."""
    if not root.is_dir():
        text = f"the folder of its images, {root}, does not exist. Give the right folder as `root`"
        return [(-1, Problem(text, "missing-folder", "root"))]
    listed: dict[str, set[str]] = {}
    missing = []
    for row, name in enumerate(names):
        folder, _, last = name.rpartition("/")
        if folder not in listed:
            listed[folder] = _files_in(root / folder)
        if last not in listed[folder] and not (root / name).is_file():  # the disk may know it in another spelling
            missing.append(row)
    if len(missing) == len(names):
        text = f"none of its {len(names):,} images is under {root} (the first: {names.iloc[0]!r})"
        advice = "Give the folder that file_name is relative to as `root`"
        return [(-1, Problem(f"{text}. {advice}", "missing-image", "root"))]
    return [(row, Problem(f"no such image under {root}: {names.iloc[row]!r}", "missing-image")) for row in missing]


def _files_in(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except OSError:
        return set()


def at_lines(source: Path | None, problems: Sequence[tuple[int, str]]) -> list[str]:
    """Return `file.csv:LINE: text` for each problem, in the order of the rows; at most `SHOWN`, then a count.

    Args:
        source: The table's file. None for a table that is not on disk: its problems have no place.
        problems: (row, text) pairs; a `Problem` keeps its code and parameter.
    """
    ordered = sorted(problems, key=lambda problem: problem[0])[:SHOWN]
    if source is None:
        return [text for _, text in ordered]
    place = places(source, {row for row, _ in ordered if row >= 0})
    lines = [_with_place(place.get(row, str(source)), text) for row, text in ordered]
    return lines + and_more(source, len(problems))


def _with_place(place: str, text: str) -> str:
    line = f"{place}: {text}"
    return Problem(line, text.code, text.parameter) if isinstance(text, Problem) else line


def and_more(source: Path, count: int) -> list[str]:
    """Return a line on the problems that are not shown, or no line where all of `count` are."""
    if count <= SHOWN:
        return []
    return [Problem(f"{source}: and {count - SHOWN:,} more problems like these", "more-problems")]


def places(source: Path, rows: set[int]) -> dict[int, str]:
    """Return `file.csv:LINE` of each row."""
    if source.suffix != ".csv":
        return {row: f"{source}: row {row + 1}" for row in rows}
    lines, row, line = {}, -1, 1  # the header is row -1 at line 1; a quoted field may hold line ends
    with source.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        for record in reader:
            if record:
                if row in rows:
                    lines[row] = f"{source}:{line}"
                row += 1
            line = reader.line_num + 1
    return lines
