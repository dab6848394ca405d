"""Which columns of a table of the user's own may hold the images' names and the labels, by their names and values."""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

import pandas as pd

from eml.dataset.column_map import LABEL, NAME, ColumnMap
from eml.dataset.columns import BOX, KNOWN, REQUIRED
from eml.dataset.problems import column_names, short_repr
from eml.images.name_search import SUFFIXES

PARAMETERS = {NAME: "file_column", LABEL: "label_column"}

# Names that other tables use for our columns, likeliest first.
_OTHER_NAMES = {
    NAME: (
        *("file_name", "path", "filename", "file", "image", "image_path", "img", "img_path", "filepath", "file_path"),
        *("image_name", "image_file", "file_names", "images", "picture", "photo", "relative_path", "im_path"),
        *("image_id", "img_id", "photo_id", "id", "uuid"),
    ),
    LABEL: (
        *("label", "class", "class_name", "label_name", "labels", "target", "class_id", "label_id", "category", "name"),
        *("individual_id", "individual", "identity", "person", "product_id", "product", "item_id", "sku", "species"),
        *("breed", "id"),
    ),
}
_MOST_TRIED = 100  # columns whose values are looked at
_MOST_PATHS = 1_000  # values of a column that are looked at for being paths
_UNIQUE, _REPEATED = 0.9, 0.75  # distinct values of a column in its rows: at least, at most
_FEW_ROWS = 5  # of which no value need be there twice
_NUMBER, _DECIMAL = re.compile(r"[-+]?\d+(?:[.,]\d+)?"), re.compile(r"[-+]?\d*[.,]\d+")


def missing_columns(frame: pd.DataFrame, columns: ColumnMap) -> str:
    """Return the error text for a table without label or file_name: which of its columns to name, and all of them.

    Args:
        frame: The table as its file has it.
        columns: The columns that the user named.
    """
    named = {NAME: columns.file_column or NAME, LABEL: columns.label_column or LABEL}
    held = {name: column for name, column in named.items() if column in frame.columns}
    missing = [name for name in REQUIRED if name not in held]
    likely = {name: _likeliest(name, frame, held.values()) for name in missing}
    listed = f"; columns found: {column_names(frame.columns)}"
    if len(missing) == 1 and likely[missing[0]] is None:
        guess = _both(frame)
        if (name := guess.get(NAME)) and (label := guess.get(LABEL)):
            text = f"{short_repr(name)} looks like the images' names and {short_repr(label)} like the labels"
            return f"column '{missing[0]}' is missing. {text}: set {_options(guess)}{listed}"
    if len(missing) == 2 and all((guess := _both(frame)).values()):
        names = " and ".join(short_repr(guess[name]) for name in missing)
        text = f"columns {' and '.join(map(repr, missing))} are missing (are they {names}? Set {_options(guess)})"
        return text + listed
    parts = []
    for name in missing:
        column = likely[name]
        hint = f"set `{PARAMETERS[name]}`"
        if column is not None:
            hint = f"is it {short_repr(column)}? Set {_options({name: column})}"
        parts.append(f"column '{name}' is missing ({hint})")
    return " and ".join(parts) + listed


def _options(columns: Mapping[str, str | None]) -> str:
    return " ".join(f'`{PARAMETERS[name]}="{columns[name]}"`' for name in PARAMETERS if columns.get(name) is not None)


def _both(frame: pd.DataFrame) -> dict[str, str | None]:
    """Return the likeliest columns for both, which are two."""
    name = _likeliest(NAME, frame, ())
    return {NAME: name, LABEL: _likeliest(LABEL, frame, () if name is None else (name,))}


def _likeliest(name: str, frame: pd.DataFrame, excluded: Iterable[str]) -> str | None:
    """Return the column that is most like the file names or the labels, None where none is."""
    others = [column for column in frame.columns if column not in {*excluded, *KNOWN} - {name}]
    aliases = {alias: place for place, alias in enumerate(_OTHER_NAMES[name])}
    by_alias = sorted(others, key=lambda column: aliases.get(column.lower().strip(), len(aliases)))  # stable
    ranks = {}
    for place, column in enumerate(by_alias[:_MOST_TRIED]):
        rank = _rank(name, frame, column, column.lower().strip() in aliases)
        if rank is not None:
            ranks[column] = (rank, place)
    return min(ranks, key=lambda column: ranks[column]) if ranks else None


def _rank(name: str, frame: pd.DataFrame, column: str, is_alias: bool) -> int | None:
    """Return how much a column is like the file names or the labels, 0 the most; None where it is not at all."""
    values = frame[column].dropna().astype(str)
    values = values[values != ""]
    if values.empty:
        return 0 if is_alias and frame.empty else None
    distinct = values.nunique()
    some = values.iloc[:_MOST_PATHS]
    are_paths = bool(some.map(_is_path).mean() >= 0.5)
    few = len(values) < _FEW_ROWS
    if name == NAME and are_paths:
        return 0 if is_alias else 1
    if name == NAME:
        unique = distinct >= _UNIQUE * len(values) and not some.map(_DECIMAL.fullmatch).notna().any()
        if is_alias and (unique or set(BOX) <= set(frame.columns)):
            return 2
        if unique and len(values) > 1:
            return 3
        return 4 if is_alias else None  # names that repeat, such as 1.jpg in every class, whose folder is left out
    if is_alias and (distinct <= _REPEATED * len(values) or (few and not are_paths)):
        return 0
    if are_paths or distinct > _REPEATED * len(values) or distinct < 2:
        return None
    return 2 if some.map(_NUMBER.fullmatch).notna().all() else 1


def _is_path(value: str) -> bool:
    return "/" in value or "\\" in value or PurePosixPath(value).suffix.lower() in SUFFIXES
