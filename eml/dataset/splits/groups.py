"""Groups of images that must stay on one side of a split or in one fold, or the test is easier than it looks.

Images that look alike, and images with the same camera, track, product page, designer: connected components, so
that what an image in between connects is one group.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from eml.dataset.duplicates.duplicates import Components, Hashes, Indices, hash_values, near_pairs
from eml.dataset.table import Table
from eml.errors import DataError

THRESHOLD = 6  # bits of 64
"""Tighter than the filter's 10, since here pairs join to components: a chain of look-alikes is one group. Labelled
copies (re-encoded, resized, turned, sharpened) are within 4. At 6 the largest component is 13 of 5,421 grocery photos,
36 of 5,021 emoji, 8 of 4,840 characters; at 10 it is 18, 226 and 1,952. See docs/leaks.md."""

LOWER = (4, 2, 0)  # tried where chance joins too much at `THRESHOLD`; distances are nearly always even
MOST_ROWS, MOST_CLASSES = 0.1, 0.5  # more in one chain of look-alikes is chance: half of a fold of five, half of all
FEW_ROWS, FEW_CLASSES = 50, 10  # no chain is shorter
SAMPLE = 500  # images of a group whose distances say whether it is a chain

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Groups:
    """of: (N,) a number for each row, the same for rows of one group. warnings: what could not be compared.

    threshold: in bits, that was used; None where hashes were not compared.
    """

    of: Indices
    threshold: int | None = None
    warnings: list[str] = field(default_factory=list)


def group_rows(
    table: Table,
    *,
    group_by: Sequence[str] = (),
    near: bool = True,
    threshold: int | None = None,
    whole_classes: bool = False,
    within_class: bool = False,
    progress: Progress | None = None,
) -> Groups:
    """Connected components of the rows.

    near: rows of one image (its boxes), of equal content and of hashes within `threshold` bits (0..63) are connected;
    of a table without hashes, the first two only, with a warning. group_by: columns whose equal values connect rows, as
    text; a blank connects nothing. within_class: rows of different classes are never connected.
    threshold: None takes `THRESHOLD`, or the first of `LOWER` at which chance does not join too much, with a warning:
    a chain of look-alikes through a tenth of the images or, for whole_classes (that whole classes go to one side),
    look-alikes that join half of the classes. Hashes tell drawings and plain backgrounds apart badly.
    Raises DataError for columns that are not there, hashes of several kinds and a threshold out of range.
    """
    frame, warnings = table.frame, []
    check_columns(table, group_by)
    if threshold is not None:
        check_threshold(threshold)
    labels = pd.factorize(frame["label"], sort=True)[0].astype(np.int64)
    owner = labels if within_class else np.zeros(len(frame), np.int64)
    components = Components(len(frame))
    for name in [*(["file_name", *({"content"} & set(frame.columns))] if near else []), *group_by]:
        _connect_equal(components, _codes(frame[name]), owner)
    used = None
    if near and "hash" in frame.columns:
        levels = (THRESHOLD, *LOWER) if threshold is None else (threshold,)
        values = _hashes(table)
        for used, alike in zip(levels, _look_alikes(values, owner, levels, progress), strict=True):
            if used == levels[-1] or not (chance := _too_much(values, alike, labels, used, whole_classes)):
                break
            warnings.append(f"{chance} at {used} bits: by chance, the hash does not tell such images apart")
        if used != levels[0]:
            warnings.append(f"so look-alikes are images within {used} bits; --threshold chooses others")
        components.add(alike, np.arange(len(frame)))
    elif near:
        warnings.append(without_hashes(table))
    return Groups(components.labels(), used, warnings)


def _look_alikes(values: Hashes, owner: Indices, levels: Sequence[int], progress: Progress | None) -> Iterator[Indices]:
    """(N,) for each level, the highest first: the first row of each one's component. Compared once, for all levels."""
    first, inverse = _distinct(values, owner)  # equal hashes make quadratically many pairs
    components = [Components(len(values)) for _ in levels]
    for some in components:
        some.add(first[inverse], np.arange(len(values)))
    for i, j, distance in near_pairs(values[first], levels[0], progress):
        i, j = first[i], first[j]
        same = owner[i] == owner[j]
        for level, some in zip(levels, components, strict=True):
            within = same & (distance <= level)
            some.add(i[within], j[within])
    for some in components:
        yield some.labels()


def _too_much(values: Hashes, alike: Indices, labels: Indices, level: int, whole_classes: bool) -> str:
    """What look-alikes join that they would not, were they copies; "" where there is no such thing."""
    size = np.bincount(alike)
    largest = int(size.max())
    if largest > max(FEW_ROWS, MOST_ROWS * len(alike)):
        members = np.flatnonzero(alike == size.argmax())
        sample = values[members[:: -(-len(members) // SAMPLE)]]
        if np.median(np.bitwise_count(sample[:, None] ^ sample[None, :])) > 2 * level:  # copies of one are within it
            return f"{largest:,} of {len(alike):,} images hang together as a chain of look-alikes"
    joined = int(np.bincount(joined_classes(labels, alike)).max())
    classes = int(labels.max()) + 1
    if whole_classes and joined > max(FEW_CLASSES, MOST_CLASSES * classes):
        return f"{joined:,} of {classes:,} classes hang together by look-alikes"
    return ""


def without_hashes(table: Table) -> str:
    """What the user is told of a table that has no hashes."""
    found = "images of equal content are" if "content" in table.frame.columns else "nothing is"
    return (
        f"{table.name} has no column 'hash', so that {found} known to look alike; run eml scan on the folder of the "
        "images to have them compared"
    )


def check_columns(table: Table, group_by: Iterable[str]) -> None:
    """DataError when a column of --group-by is not there."""
    columns = table.frame.columns
    if missing := [name for name in group_by if name not in columns]:
        told = ", ".join(map(repr, missing))
        raise DataError(f"{table.name}: --group-by: has no column {told}; it has {', '.join(map(str, columns))}")


def check_threshold(threshold: int) -> None:
    """DataError when it is out of range."""
    if not 0 <= threshold <= 63:
        raise DataError(f"--threshold must be within 0..63 (bits of 64), got {threshold}")


def text_values(column: "pd.Series[Any]") -> "pd.Series[str]":
    """A column's values as text, "" where there is none."""
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
    """(first row of each distinct pair of value and owner, which of them each row is)."""
    keys = pd.MultiIndex.from_arrays([values, owner]) if owner.any() else values
    codes, _ = pd.factorize(keys)
    first = np.full(int(codes.max(initial=-1)) + 1, len(codes))
    np.minimum.at(first, codes, np.arange(len(codes)))
    return first, codes


def _hashes(table: Table) -> Any:
    try:
        return hash_values(table)
    except DataError as error:
        raise DataError(
            [*error.problems, "or give --no-near (to eml kfold or split): images that look alike may then be apart"]
        ) from error


def joined_classes(labels: Indices, groups: Indices) -> Indices:
    """(C,) for each class the number (0, 1, …) of the classes that groups join it to.

    labels: (N,) 0…C−1; groups: (N,). Numbered by their first class, so that the order of the rows is of no account.
    """
    if not len(labels):
        return np.zeros(0, dtype=np.int64)
    first = np.full(int(groups.max()) + 1, len(labels))
    np.minimum.at(first, groups, np.arange(len(labels)))
    components = Components(int(labels.max()) + 1)
    components.add(labels[first[groups]], labels)
    return np.unique(components.labels(), return_inverse=True)[1].astype(np.int64)
