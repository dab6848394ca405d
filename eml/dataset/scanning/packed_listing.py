"""The images inside a folder's packed files, with their labels and other columns."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eml.dataset.columns import KNOWN, LONGEST_TEXT
from eml.dataset.scanning.class_level import LAST, ClassLevel, class_of_packed
from eml.dataset.scanning.file_problem import FileProblem
from eml.images.locate import stays_below
from eml.images.packed.contents import Contents, NotPackedError, UnusableError
from eml.images.packed.keys import is_hidden
from eml.images.packed.members import PACKED_SUFFIXES, contents_of
from eml.json_files import read_json
from eml.storage import RemotePath
from eml.storage.listing import known_info
from eml.threads import in_order

MANIFEST = "eml-pack.json"
"""The list of packed files that `eml pack` writes into their folder."""
MOST_COLUMNS = 1_000
"""Columns that the packed files of a folder add to its table; the others are left out."""
LONGEST_VALUE = 5_000
"""Characters of a text in such a column; a longer one is cut."""
_OF_PACKED = (MANIFEST, "readme.md", "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
_SPLIT = re.compile(
    r"(?:^|[/._ -])(train|training|validation|valid|val|dev|test|testing|eval)(?=[/._ -]|$)", re.IGNORECASE
)
_AT_ONCE = 4  # remote packed files
_NO_LABEL = "has no label: neither its packed file says one, nor is it in a folder"


@dataclass
class PackedImages:
    """The images inside packed files.

    Attributes:
        labels: The label of each, by its file name.
        columns: The other columns that the packed files have, by file name and column.
        problems: What cannot be used.
        files: The packed files, relative to the root.
    """

    labels: dict[str, str] = field(default_factory=dict)
    columns: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[FileProblem] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    _names: dict[str, None] = field(default_factory=dict, repr=False, compare=False)
    _read: dict[str, Contents | NotPackedError | UnusableError] = field(default_factory=dict, repr=False, compare=False)

    def read_ahead(self, root: Path, file_names: Sequence[str]) -> None:
        """Read what remote packed files hold, several at once, since waiting takes the time; `add` adds it."""
        contents = in_order(lambda name: _contents(root / name), file_names, _AT_ONCE)
        self._read = dict(zip(file_names, contents, strict=True))

    def add(self, root: Path, file_name: str, level: ClassLevel | None) -> bool:
        """Add what a packed file holds; return False for a file that is none.

        Args:
            root: The folder of the images.
            file_name: The packed file, relative to it.
            level: Which folder is the class of an image without a label; None: an image needs none.
        """
        if not file_name.lower().endswith(PACKED_SUFFIXES):
            return False
        contents = self._read.pop(file_name, None) or _contents(root / file_name)
        if isinstance(contents, NotPackedError):
            return False
        if isinstance(contents, UnusableError):
            self.problems.append(FileProblem(file_name, contents.reason, contents.detail))
            return True
        self.files.append(file_name)
        for problem in contents.problems:
            name = f"{file_name}/{problem.key}" if problem.key else file_name
            self.problems.append(FileProblem(name, problem.reason, problem.detail))
        columns = self._bounded(file_name, contents.columns)
        for row, (key, own) in enumerate(zip(contents.keys, contents.labels, strict=True)):
            if is_hidden(key):
                continue
            name = f"{file_name}/{key}"
            label = class_of_packed(file_name, key, level or LAST) if own is None else own
            if label == "" and level is not None:
                self.problems.append(FileProblem(name, "not_in_a_class", _NO_LABEL))
                continue
            if len(label) > LONGEST_TEXT and level is None:
                label = ""
            elif len(label) > LONGEST_TEXT:
                text = f"its label has {len(label):,} characters; at most {LONGEST_TEXT:,} are a name"
                self.problems.append(FileProblem(name, "not_in_a_class", text))
                continue
            self.labels[name] = label
            if columns:
                self.columns[name] = {column: values[row] for column, values in columns.items()}
        return True

    def _bounded(self, file_name: str, columns: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        """Return the columns of a packed file that have values, and say which are left out or cut."""
        filled = {name: column for name, column in columns.items() if any(value is not None for value in column)}
        bounded, left_out = dict[str, list[Any]](), list[str]()
        for name, column in filled.items():
            if name not in self._names and len(self._names) >= MOST_COLUMNS:
                left_out.append(name)
                continue
            self._names[name] = None
            most = LONGEST_TEXT if name in KNOWN else LONGEST_VALUE
            long = sum(isinstance(value, str) and len(value) > most for value in column)
            if long:
                text = (
                    f"its column {name[:50]!r} has {long:,} texts of more than {most:,} characters, which are cut there"
                )
                self.problems.append(FileProblem(file_name, "too_large", text))
                column = [value[:most] if isinstance(value, str) else value for value in column]
            bounded[name] = column
        if left_out:
            shown = ", ".join(repr(name[:50]) for name in left_out[:3]) + " …" * (len(left_out) > 3)
            text = f"packed files add at most {MOST_COLUMNS:,} columns to a table; of this one {len(left_out):,} are "
            self.problems.append(FileProblem(file_name, "too_large", f"{text}left out: {shown}"))
        return bounded


def _contents(file: Path) -> Contents | NotPackedError | UnusableError:
    """Return what a packed file holds, or why it cannot be said."""
    try:
        return contents_of(file)
    except (NotPackedError, UnusableError) as error:
        return error


def is_of_packed(file_name: str) -> bool:
    """Return whether a file beside packed files says something of them, and is no image."""
    return file_name.rpartition("/")[2].lower() in _OF_PACKED


def missing_files(root: Path, files: Sequence[str]) -> list[FileProblem]:
    """Return the packed files that the list of `eml pack` in the root names and that are not there, or not whole."""
    if isinstance(root, RemotePath) and known_info(root / MANIFEST) is None:
        return []
    try:
        facts = read_json(root / MANIFEST, dict[str, Any])
        sizes = {str(name): int(own["bytes"]) for name, own in facts["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    problems = []
    for name in sorted(sizes.keys() - set(files)):
        if stays_below(name) and _bytes_of(root / name) is None:
            problems.append(FileProblem(name, "missing", f"a packed file that {MANIFEST} names"))
    for name in sorted(sizes.keys() & set(files)):
        if (size := _bytes_of(root / name)) is not None and size < sizes[name]:
            text = f"{size:,} of the {sizes[name]:,} bytes that {MANIFEST} says; what is whole is used"
            problems.append(FileProblem(name, "truncated", text))
    return problems


def _bytes_of(file: Path) -> int | None:
    """Return the bytes of a packed file, of a remote one as the listing has it; None where there is none."""
    if isinstance(file, RemotePath):
        return None if (info := known_info(file)) is None else info.bytes
    try:
        return file.stat().st_size
    except OSError:
        return None


def add_columns(table: pd.DataFrame, columns: Mapping[str, Mapping[str, Any]], files: Sequence[str]) -> pd.DataFrame:
    """Return a scanned table with the columns that its packed files have beside the label, and `split`.

    Whole numbers with blanks stay whole. `split` is made of the names of the packed files, where they name several.

    Args:
        table: The table.
        columns: As of `PackedImages`.
        files: The packed files.
    """
    names = table["file_name"].tolist()
    own = list(dict.fromkeys(name for row in columns.values() for name in row if name not in table.columns))
    rows = [columns.get(file, {}) for file in names]
    added = [_series([row.get(name) for row in rows], table.index).rename(name) for name in own]
    table = pd.concat([table, *added], axis=1)
    splits = {file: split_of(file) for file in files}
    if len(set(splits.values()) - {""}) > 1 and "split" not in table.columns:
        by_length = sorted(splits, key=len, reverse=True)
        place = {name: next((file for file in by_length if name.startswith(f"{file}/")), "") for name in names}
        table["split"] = [splits.get(place[name], "") for name in names]
    return table


def split_of(file_name: str) -> str:
    """Return the split that the name of a packed file says, as Hugging Face's `datasets` reads it; "" for none."""
    words = _SPLIT.findall(file_name.rpartition(".")[0])
    return str(words[-1]).lower() if words else ""


def _series(values: list[Any], index: "pd.Index[Any]") -> "pd.Series[Any]":
    present = [value for value in values if value is not None]
    if len(present) < len(values) and present and all(type(value) is int for value in present):
        return pd.Series(values, index=index, dtype="Int64")
    if len(present) < len(values) and present and all(type(value) is bool for value in present):
        return pd.Series(values, index=index, dtype="boolean")
    return pd.Series([np.nan if value is None else value for value in values], index=index)
