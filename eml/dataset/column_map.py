"""Tables of the user's own: which columns hold the names and labels, and how the names become paths under the root."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from eml.dataset.columns import as_text
from eml.dataset.name_rules import find_rule
from eml.dataset.problems import RowProblems, column_names, short_repr
from eml.dataset.sidecar import sidecar_path
from eml.errors import DataError, Problem
from eml.images.locate import LEAVES_ROOT
from eml.images.name_search import ImageFinder

NAME, LABEL = "file_name", "label"
_ABSOLUTE = r"^(?:/|\\|[A-Za-z]:)"


@dataclass(frozen=True)
class ColumnMap:
    """A way to read tables whose columns or file names are not those that eml writes.

    Attributes:
        file_column: The column that holds the images' names; None: file_name.
        label_column: The column that holds the classes; None: label.
        strip_prefix: Text that is taken away from the beginning of each name that has it.
        path_prefix: Text that is put before each name, such as `train/`; `{COLUMN}` stands for the row's value.
        path_suffix: Text that is put after each name that does not end in it, such as `.jpg`.
        match_names: Take the one file under the root whose path differs only in slashes, case or suffix.
    """

    file_column: str | None = None
    label_column: str | None = None
    strip_prefix: str | None = None
    path_prefix: str | None = None
    path_suffix: str | None = None
    match_names: bool = False

    @property
    def parameters(self) -> dict[str, Any]:
        """The fields that are set."""
        return {name: value for name, value in vars(self).items() if value not in (None, False)}

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are named."""
        return tuple(name for name in (self.file_column, self.label_column) if name is not None)

    def of_several(self, table: Path) -> "ColumnMap":
        """Return the map for one of several tables: those that eml wrote, and folders, are read as they are."""
        return AS_NAMED if table.is_dir() or sidecar_path(table).exists() else self

    def rename(self, source: Path, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the frame with the named columns as file_name and label; a column that had the name gets `own_` to it.

        Raises:
            DataError: A named column is missing.
        """
        kept = {}
        problems = []
        for parameter, column, name in (
            ("file_column", self.file_column, NAME),
            ("label_column", self.label_column, LABEL),
        ):
            if column is None or column == name:
                continue
            if column in frame.columns:
                kept[name] = frame[column]  # one column may be both
                continue
            names = column_names(frame.columns)
            text = f"{source}:1: `{parameter}`: there is no column {short_repr(column)}; columns found: {names}"
            problems.append(Problem(text, "missing-column", parameter))
        if problems:
            raise DataError(problems)
        used = {column for column in self.columns if column not in {NAME, LABEL} - set(kept)}
        frame = frame.drop(columns=list(used))
        frame = frame.rename(columns={name: f"own_{name}" for name in kept})
        return frame.loc[:, ~frame.columns.duplicated()].assign(**kept)

    def file_names(self, frame: pd.DataFrame, root: Path, problems: RowProblems) -> "pd.Series[Any]":
        """Return the names relative to the root.

        Args:
            frame: A table with file_name and label.
            root: The folder of the images.
            problems: Receives the names that are not under the root or fit several files, with the row's index.
        """
        names = as_text(frame[NAME], problems)
        filled = names != ""
        if self.strip_prefix:
            names = names.map(lambda name: name.removeprefix(self.strip_prefix))
        if self.path_prefix:
            names = (self._filled_in(self.path_prefix, frame) + names).where(filled, "")
        if self.path_suffix:
            lacks = filled & ~names.str.endswith(self.path_suffix)
            names = names.where(~lacks, names + self.path_suffix)
        names = under_root(names, _texts(frame[LABEL]).tolist(), root, problems)
        return _matched(names, root, problems) if self.match_names else names

    def _filled_in(self, text: str, frame: pd.DataFrame) -> "pd.Series[Any]":
        """Return the text for each row, with the row's value for `{COLUMN}`, by the user's name of it or eml's."""
        renamed = {self.file_column: NAME, self.label_column: LABEL}
        parts = re.split(r"\{([^{}]+)\}", text)
        filled = pd.Series(parts[0], index=frame.index, dtype=object)
        for column, rest in zip(parts[1::2], parts[2::2], strict=True):
            name = renamed.get(column, column)
            filled = filled + (_texts(frame[name]) if name in frame.columns else f"{{{column}}}") + rest
        return filled


AS_NAMED = ColumnMap()
"""eml's own columns, and names relative to the root."""


def _texts(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return the values as text, blanks as none."""
    return column.astype(str).where(column.notna(), "").astype(object)


def _matched(names: "pd.Series[Any]", root: Path, problems: RowProblems) -> "pd.Series[Any]":
    """Return the names of the files that fit; a name that fits none stays as it is, and is missed later."""
    finder = ImageFinder(root)
    matched = {}
    for row, name in names.items():
        if name == "" or re.search(LEAVES_ROOT, name):
            continue
        fitting = finder.similar(name)
        if len(fitting) == 1:
            matched[row] = fitting[0]
        elif fitting:
            some = ", ".join(map(short_repr, fitting[:3]))
            text = f"{short_repr(name)} fits {len(fitting)} files, {some}; set `path_suffix`, or write one of them"
            problems.append((int(str(row)), Problem(text, "several-images", "match_names")))
    return names.mask(names.index.isin(list(matched)), pd.Series(matched, dtype=object)) if matched else names


def under_root(names: "pd.Series[Any]", labels: Sequence[str], root: Path, problems: RowProblems) -> "pd.Series[Any]":
    """Return absolute paths relative to the root. Those that are not under it stay, for a later check to report.

    When all names lead out of the root, they are one problem, which says what would find them.
    """
    if not re.search(LEAVES_ROOT, str(names.iloc[0])) and not names.str.contains(_ABSOLUTE, regex=True).any():
        return names
    absolute = names[names.map(os.path.isabs)]
    roots = {os.path.normpath(root.absolute()), os.path.realpath(root)}
    relative = absolute.map(lambda path: _relative(os.path.normpath(path), roots))
    names = relative.fillna(absolute).reindex(names.index).fillna(names) if len(absolute) else names
    if not names.str.contains(LEAVES_ROOT, regex=True).all():
        return names
    paths = list(names)
    is_absolute = len(absolute) == len(names)
    shared = os.path.commonpath([os.path.dirname(path) for path in paths]) if is_absolute else ""  # noqa: PTH120
    rule = None if shared and os.path.isdir(shared) else find_rule(paths, labels, root)  # noqa: PTH112
    if not rule and not is_absolute:
        return names
    kind = "absolute paths" if is_absolute else "paths"
    text = f"none of its {len(names):,} {kind} is under {root} (the first: {short_repr(paths[0])})"
    advice = rule.sentence() if rule else f"Give the folder that holds them, such as {shared}, as `root`"
    problems.append((-1, Problem(f"{text}. {advice}", "path-outside-root", rule.parameter if rule else "root")))
    return pd.Series([f"outside-{row}" for row in range(len(names))], index=names.index)  # reported


def _relative(path: str, roots: set[str]) -> str | None:
    for root in roots:
        if path.startswith(prefix := root.rstrip(os.sep) + os.sep):
            return path[len(prefix) :].replace(os.sep, "/")
    return None
