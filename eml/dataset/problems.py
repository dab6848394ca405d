"""What can be wrong with the rows of a table: (row, text) pairs, and how they are told with the file's lines."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

SHOWN = 20  # problems listed; the others are counted

# A component "..", a leading "/", a drive: none of them stays under the root (backslashes, for tables from Windows).
LEAVES_ROOT = r"^/|^\\|^[A-Za-z]:[\\/]|(?:^|[/\\])\.\.(?:$|[/\\])"


def path_problems(names: "pd.Series[Any]", column: str = "file_name") -> list[tuple[int, str]]:
    """File names that are empty, absolute, or lead out of the root. column: what the file calls them."""
    found = [(row, f"{column} is empty") for row in names.index[names == ""]]
    for row in names.index[names.str.contains(LEAVES_ROOT, regex=True)]:
        found.append((row, f"{column} must stay under the root: relative and without '..', got {names[row]!r}"))
    return found


def file_problems(source: Path, names: "pd.Series[Any]", root: Path) -> list[tuple[int, str]]:
    """Images that are not there; one problem at row -1 when none of them is, since then the root is wrong."""
    if not root.is_dir():
        return [(-1, f"the folder of its images, {root}, is not there. Give the right one with --root")]
    listed: dict[str, set[str]] = {}
    missing = []
    for row, name in enumerate(names):
        folder, _, last = name.rpartition("/")
        if folder not in listed:
            listed[folder] = _files_in(root / folder)
        if last not in listed[folder] and not (root / name).is_file():  # the disk may know it in another spelling
            missing.append(row)
    if len(missing) == len(names):
        return [(-1, f"none of its {len(names):,} images is under {root} (the first: {names.iloc[0]!r}). "
                     "Give the folder that file_name is relative to with --root")]  # fmt: skip
    return [(row, f"no such image under {root}: {names.iloc[row]!r}") for row in missing]


def _files_in(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except OSError:
        return set()


def at_lines(source: Path, problems: Sequence[tuple[int, str]]) -> list[str]:
    """`file.csv:LINE: text`, in the order of the rows; at most `SHOWN` and a count of the others. Row -1: the file."""
    ordered = sorted(problems, key=lambda problem: problem[0])[:SHOWN]
    place = places(source, {row for row, _ in ordered if row >= 0})
    told = [f"{place.get(row, str(source))}: {text}" for row, text in ordered]
    return told + and_more(source, len(problems))


def and_more(source: Path, count: int) -> list[str]:
    """A line that says how many of so many problems are not shown, or none."""
    return [f"{source}: and {count - SHOWN:,} more problems like these"] if count > SHOWN else []


def places(source: Path, rows: set[int]) -> dict[int, str]:
    """`file.csv:LINE` of each row."""
    if source.suffix != ".csv":
        return {row: f"{source}: row {row + 1}" for row in rows}
    found, row, line = {}, -1, 1  # the header is row -1 at line 1; a quoted field may hold line ends
    with source.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        for record in reader:
            if record:
                if row in rows:
                    found[row] = f"{source}:{line}"
                row += 1
            line = reader.line_num + 1
    return found
