"""Problems with the rows of a table: (row, text) pairs, and the lines of the file that they become."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.name_rules import find_rule, swap_advice
from eml.dataset.table_files import csv_records
from eml.dataset.table_names import is_csv
from eml.errors import Problem
from eml.files import LONGEST_NAME, NO_PATH
from eml.images.locate import LEAVES_ROOT, OUTSIDE, is_image_name, stays_within
from eml.images.packed.members import is_member
from eml.images.packed.remote_states import image_states
from eml.storage import RemotePath, is_remote

RowProblems = list[tuple[int, str]]
"""(row, text), the text as a rule a `Problem` with its code. Row −1 is the table as a whole."""

SHOWN = 20  # problems listed; the rest are counted
SHOWN_LENGTH = 200  # characters of a value in a message


def path_problems(names: "pd.Series[Any]", column: str = "file_name") -> RowProblems:
    """Return the file names that are empty, absolute, lead out of the root, or that no file can have.

    Args:
        names: The file names.
        column: The column's name in the file.
    """
    problems: RowProblems = [(row, Problem(f"{column} is empty", "empty-value")) for row in names.index[names == ""]]
    for row in names.index[names.str.contains(LEAVES_ROOT, regex=True)]:
        text = f"{column} must stay under the root: relative and without '..', got {short_repr(names[row])}"
        problems.append((row, Problem(text, "path-outside-root")))
    for row in names.index[_doubtful(names)]:
        if is_image_name(names[row]):
            continue
        problems.append((row, Problem(f"{column} is {NO_PATH}, got {short_repr(names[row])}", "invalid-value")))
    return problems


def _doubtful(names: "pd.Series[Any]") -> NDArray[np.bool_]:
    """Return (N,) whether a name needs a closer look: is long or, where that is so of any, is not plain text."""
    texts = names.tolist()
    long = np.fromiter(map(len, texts), np.int64, len(texts)) * 4 > LONGEST_NAME
    together = "".join(texts)
    is_plain = "\0" not in together and not any("\ud800" <= character <= "\udfff" for character in set(together))
    return long if is_plain else np.ones(len(texts), bool)


def file_problems(
    names: "pd.Series[Any]",
    root: Path,
    labels: Sequence[str] | None = None,
    columns: tuple[str, str] | None = None,
) -> RowProblems:
    """Return the images that do not exist or lie outside the root; one problem at row −1 when none exists.

    When none exists, the root is wrong, or the names are: the problem says which rule would find them.

    Args:
        names: The file names.
        root: The folder that they are relative to.
        labels: The classes, which may be the images' folders.
        columns: The columns of the names and the labels in the file of the user's own table, which may be swapped.
    """
    if not root.is_dir():
        text = f"the folder of its images, {root}, does not exist. Give the right folder as `root`"
        return [(-1, Problem(text, "missing-folder", "root"))]
    missing, outside = _absent(names, root)
    sought = [names.iloc[row] for row in missing]
    rule = (
        find_rule(sought, [labels[row] for row in missing] if labels else sought, root)
        if missing and not is_remote(root)
        else None
    )
    if len(missing) == len(names):
        text = f"none of its {len(names):,} images is under {root} (the first: {short_repr(names.iloc[0])})"
        if not rule and labels and columns and (swapped := swap_advice(sought, labels, root, columns)):
            return [(-1, Problem(f"{text}. {swapped}", "missing-image", "file_column"))]
        advice = rule.sentence() if rule else "Give the folder that file_name is relative to as `root`"
        return [(-1, Problem(f"{text}. {advice}", "missing-image", rule.parameter if rule else "root"))]
    problems: RowProblems = [
        (row, Problem(f"no such image under {root}: {short_repr(names.iloc[row])}", "missing-image")) for row in missing
    ]
    if rule:
        text = f"{len(missing):,} of its {len(names):,} images are not under {root}. {rule.sentence()}"
        problems.append((-1, Problem(text, "missing-image", rule.parameter)))
    return problems + [
        (row, Problem(f"{short_repr(names.iloc[row])} is {OUTSIDE}", "outside-dataset")) for row in outside
    ]


def _absent(names: "pd.Series[Any]", root: Path) -> tuple[list[int], list[int]]:
    """Return the rows whose image is not under the root, and those whose image is a link that leads out of it."""
    if isinstance(root, RemotePath):
        present = image_states(root, names, again=False)
        return [row for row, name in enumerate(names) if name not in present], []
    listed: dict[str, set[str]] = {}
    missing, outside = list[int](), list[int]()
    for row, name in enumerate(names):
        folder, _, last = name.rpartition("/")
        if folder not in listed:
            listed[folder] = _files_in(root, folder)
        if last in listed[folder]:
            continue
        if not _is_file(root / name):  # the disk may know it in another spelling
            missing.append(row)
        elif not stays_within(root, name):
            outside.append(row)
    return missing, outside


def _files_in(root: Path, folder: str) -> set[str]:
    """Return the files of a folder of the root, without links and without what links lead to."""
    if folder and not stays_within(root, f"{folder}/."):
        return set()
    try:
        with os.scandir(root / folder) as entries:
            return {entry.name for entry in entries if entry.is_file() and not entry.is_symlink()}
    except (OSError, ValueError):
        return set()


def _is_file(path: Path) -> bool:
    try:
        return path.is_file() or is_member(path)
    except (OSError, ValueError):  # too long with its root, or no path at all
        return False


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
    if not is_csv(source):
        return {row: f"{source}: row {row + 1}" for row in rows}
    records = enumerate(csv_records(source), -1)  # the header is row -1
    return {row: f"{source}:{line}" for row, (line, _) in records if row in rows}


def column_names(columns: Iterable[object]) -> str:
    """Return the columns of a table for a message: the first of them, each cut where it is long, and how many more."""
    names = [text if len(text) <= 60 else f"{text[:59]}…" for text in map(str, columns)]
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more or "none"


def value_counts(values: "pd.Series[Any]") -> str:
    """Return the values of a column for a message, the most frequent first: `12 of 'a', 3 of 'b' and 5 more values`."""
    counts = values.value_counts()
    listed = ", ".join(f"{count:,} of {short_repr(value)}" for value, count in counts.iloc[:SHOWN].items())
    return f"{listed} and {len(counts) - SHOWN:,} more values" if len(counts) > SHOWN else listed


def short_repr(value: object) -> str:
    """Return a cell's value for a message, as plain Python writes it, cut where it is long."""
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= SHOWN_LENGTH else f"{text[: SHOWN_LENGTH - 1]}…"
