"""Groups of images that must stay on one side of a split or in one fold, or the test is easier than it looks.

Groups are images that look alike, and images with the same camera, track, product page, designer. They are connected
components: two images that an image in between connects are in one group.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from eml.dataset.duplicates.blank import apart_where_blank, blank_rows
from eml.dataset.duplicates.components import Components, Indices
from eml.dataset.duplicates.duplicates import hash_values
from eml.dataset.duplicates.hamming import Advance, Hashes, near_pairs
from eml.dataset.problems import column_names
from eml.dataset.table import Table
from eml.errors import DataError, Problem

THRESHOLD = 6  # bits of 64
"""Tighter than the filter's 10, since pairs join to components here: a chain of look-alikes is one group. Labelled
copies (re-encoded, resized, turned, sharpened) are within 4. At 6 the largest component is 13 of 5,421 grocery photos,
64 of 5,021 emoji, 8 of 4,840 characters; at 10 it is 18, 230 and 1,952. See docs/leaks.md."""
MAX_THRESHOLD = 63

LOWER = (4, 2, 0)  # tried where chance joins too much at `THRESHOLD`; distances are nearly always even
MAX_ROW_SHARE, MAX_CLASS_SHARE = 0.1, 0.5
"""A larger chain of look-alikes is chance: half of a fold of five, half of all classes."""
MIN_CHAIN_ROWS, MIN_CHAIN_CLASSES = 50, 10  # nothing shorter counts as a chain
SAMPLE = 500  # images of a group whose distances decide whether it is a chain


@dataclass(frozen=True)
class RowGroups:
    """The groups of a table's rows."""

    ids: Indices
    """(N,) a number for each row, the same for rows of one group; the numbers may have gaps."""
    threshold: int | None = None
    """In bits of 64; None where hashes were not compared."""
    warnings: list[str] = field(default_factory=list)
    """Comparisons that were not possible, and the threshold that was used instead."""


def group_rows(
    table: Table,
    *,
    group_by: Sequence[str] = (),
    near: bool = True,
    threshold: int | None = None,
    whole_classes: bool = False,
    within_class: bool = False,
    progress: Advance | None = None,
) -> RowGroups:
    """Return the connected components of the rows.

    Args:
        table: The rows.
        group_by: Columns whose equal values connect rows, compared as text; a blank connects nothing.
        near: Connect rows of one image (its boxes), of equal content, and of hashes within `threshold`. Without
            hashes only the first two, with a warning. Blank images are not connected by content or hash.
        threshold: In bits of 64 (0..63). None takes `THRESHOLD`, or the first of `LOWER` at which chance does not
            join too much, with a warning: hashes separate drawings and plain backgrounds badly. Too much is a chain of
            look-alikes through a tenth of the images or, with `whole_classes`, through half of the classes.
        whole_classes: Whole classes go to one side.
        within_class: Never connect rows of different classes.
        progress: Called with the number of rows newly compared.

    Raises:
        DataError: A column does not exist, hashes are of several kinds, or the threshold is out of range.
    """
    frame, warnings = table.frame, []
    check_columns(table, group_by)
    if threshold is not None:
        check_threshold(threshold)
    labels = pd.factorize(frame["label"], sort=True)[0].astype(np.int64)
    owner = labels if within_class else np.zeros(len(frame), np.int64)
    if frame.empty:  # as where every image conflicts with another
        return RowGroups(np.zeros(0, np.int64), None, [])
    components = Components(len(frame))
    blank = blank_rows(frame)
    for name in [*(["file_name"] if near else []), *group_by]:
        _connect_equal(components, _codes(frame[name]), owner)
    if near and "content" in frame.columns:
        _connect_equal(components, np.where(blank, -1, _codes(frame["content"])), owner)
    used = None
    if near and "hash" in frame.columns:
        levels = (THRESHOLD, *LOWER) if threshold is None else (threshold,)
        values = _hashes(table)
        for used, alike in zip(
            levels, _look_alikes(values, apart_where_blank(owner, blank), levels, progress), strict=True
        ):
            if used == levels[-1] or not (chain := _chain(values, alike, labels, used, whole_classes)):
                break
            warnings.append(f"{chain} at {used} bits: this is chance, since the hash does not separate such images")
        if used != levels[0]:
            warnings.append(f"images within {used} bits count as look-alikes; `threshold` sets another limit")
        components.add(alike, np.arange(len(frame)))
    elif near:
        warnings.append(missing_hashes(table))
    return RowGroups(components.labels(), used, warnings)


def _look_alikes(values: Hashes, owner: Indices, levels: Sequence[int], progress: Advance | None) -> Iterator[Indices]:
    """Yield (N,) the first row of each row's component, for each level, the highest first; hashes are compared once."""
    first, inverse = _distinct(values, owner)  # equal hashes make quadratically many pairs
    components = [Components(len(values)) for _ in levels]
    for at_level in components:
        at_level.add(first[inverse], np.arange(len(values)))
    for i, j, distance in near_pairs(values[first], levels[0], progress):
        i, j = first[i], first[j]
        same = owner[i] == owner[j]
        for level, at_level in zip(levels, components, strict=True):
            within = same & (distance <= level)
            at_level.add(i[within], j[within])
    for at_level in components:
        yield at_level.labels()


def _chain(values: Hashes, alike: Indices, labels: Indices, level: int, whole_classes: bool) -> str:
    """Describe a component that is too large to be copies of one image, "" where there is none."""
    size = np.bincount(alike)
    largest = int(size.max())
    if largest > max(MIN_CHAIN_ROWS, MAX_ROW_SHARE * len(alike)):
        members = np.flatnonzero(alike == size.argmax())
        sample = values[members[:: -(-len(members) // SAMPLE)]]
        if np.median(np.bitwise_count(sample[:, None] ^ sample[None, :])) > 2 * level:  # copies of one are within it
            return f"{largest:,} of {len(alike):,} images form a chain of look-alikes"
    joined = int(np.bincount(joined_classes(labels, alike)).max())
    classes = int(labels.max()) + 1
    if whole_classes and joined > max(MIN_CHAIN_CLASSES, MAX_CLASS_SHARE * classes):
        return f"{joined:,} of {classes:,} classes are joined by look-alikes"
    return ""


def missing_hashes(table: Table) -> str:
    """Return the warning for a table without hashes."""
    compared = "only images of equal content" if "content" in table.frame.columns else "no images"
    return (
        f"{table.name} has no column 'hash', so {compared} count as look-alikes. Only the table that eml scan makes of "
        "a folder (with a folder per class) has one: use that table to compare them, or set `near=False` (in kfold or "
        "split) if there are none"
    )


def check_columns(table: Table, group_by: Iterable[str]) -> None:
    """Raise a DataError where a column of `group_by` does not exist."""
    columns = table.frame.columns
    if missing := [name for name in group_by if name not in columns]:
        text = f"{table.name}: `group_by`: no column {', '.join(map(repr, missing))}"
        raise DataError(f"{text}; it has {column_names(columns)}", code="missing-column", parameter="group_by")


def check_threshold(threshold: int) -> None:
    """Raise a DataError where the threshold is out of range."""
    if not 0 <= threshold <= MAX_THRESHOLD:
        text = f"`threshold` must be between 0 and {MAX_THRESHOLD} (bits of 64), got {threshold}"
        raise DataError(text, code="out-of-range", parameter="threshold")


def text_values(column: "pd.Series[Any]") -> "pd.Series[str]":
    """Return a column's values as text, "" for a missing value."""
    return column.astype(str).where(column.notna(), "").str.strip()


def _codes(column: "pd.Series[Any]") -> Indices:
    """(N,) a number for each value, −1 for a blank."""
    text = text_values(column)
    return np.where(text == "", -1, pd.factorize(text)[0]).astype(np.int64)


def _connect_equal(components: Components, codes: Indices, owner: Indices) -> None:
    rows = np.flatnonzero(codes >= 0)
    first, inverse = _distinct(codes[rows], owner[rows])
    components.add(rows[first][inverse], rows)


def _distinct(values: Any, owner: Indices) -> tuple[Indices, Indices]:
    """Return (first row of each distinct pair of value and owner, pair of each row)."""
    keys = pd.MultiIndex.from_arrays([values, owner]) if owner.any() else values
    codes, _ = pd.factorize(keys)
    first = np.full(int(codes.max(initial=-1)) + 1, len(codes))
    np.minimum.at(first, codes, np.arange(len(codes)))
    return first, codes


def _hashes(table: Table) -> Hashes:
    try:
        return hash_values(table)
    except DataError as error:
        advice = "or set `near=False` (in kfold or split): images that look alike may then be separated"
        raise DataError([*error.problems, Problem(advice, error.code, "near")]) from error


def joined_classes(labels: Indices, groups: Indices) -> Indices:
    """Return (C,) for each class the number (0, 1, …) of the classes that groups join it to.

    labels: (N,) 0…C−1; groups: (N,). Numbered by their first class, so the order of the rows does not matter.
    """
    if not len(labels):
        return np.zeros(0, dtype=np.int64)
    first = np.full(int(groups.max()) + 1, len(labels))
    np.minimum.at(first, groups, np.arange(len(labels)))
    components = Components(int(labels.max()) + 1)
    components.add(labels[first[groups]], labels)
    return np.unique(components.labels(), return_inverse=True)[1].astype(np.int64)
