"""Removing pictures by list, by size, as duplicates, and as classes too small; nothing on disk is touched."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from eml.dataset.duplicates import conflicts, hash_values, keeping_order, twins
from eml.dataset.table import Table
from eml.errors import DataError

Scope = Literal["class", "dataset"]

THRESHOLD = 10  # bits of 64: re-encoded, resized and lightly retouched copies are nearly always within it
MAX_THRESHOLD = 63

EXCLUDED, TOO_SMALL, TOO_LARGE = "excluded", "too_small", "too_large"
CONFLICT, DUPLICATE, SMALL_CLASS = "label_conflict", "duplicate", "small_class"
REASONS = (EXCLUDED, TOO_SMALL, TOO_LARGE, CONFLICT, DUPLICATE, SMALL_CLASS)  # in the order in which they are applied


@dataclass(frozen=True)
class Filtered:
    """kept: the rows that stay, in their order. removed: the others, with `reason` (one of `REASONS`) and, for
    duplicates, `kept`: the file_name of the twin that stayed. conflicts: `group, file_name, label, distance` of the
    pictures that have near-duplicates with another label; distance, in bits, to the nearest of those.
    """

    kept: pd.DataFrame
    removed: pd.DataFrame
    conflicts: pd.DataFrame


def filter_table(
    table: Table,
    *,
    exclude: Collection[str] | None = None,
    min_size: int | None = None,
    max_size: int | None = None,
    dedup: bool = False,
    threshold: int = THRESHOLD,
    scope: Scope = "class",
    min_per_class: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Filtered:
    """The pictures worth training on, in this order: exclude, sizes, duplicates, classes.

    exclude: file_names to leave out. min_size, max_size: pixels of the shorter, of the longer side. dedup: one picture
    stays of those within `threshold` bits (0..63): the largest, then the one of most bytes, then by name. scope class
    compares within each class; scope dataset also over classes, where twins with different labels are a label
    conflict, and both leave. min_per_class: counted after all other removals.
    Raises DataError when an option cannot be applied, when nothing is asked for and when nothing would be left.
    """
    check_options(exclude, min_size, max_size, dedup, threshold, min_per_class)
    _check_table(table, exclude, min_size or max_size, dedup)
    frame = table.frame
    reason = pd.Series("", index=frame.index)
    twin = pd.Series("", index=frame.index)
    if exclude is not None:
        reason[frame["file_name"].isin(list(exclude))] = EXCLUDED
    if min_size is not None:
        reason[(reason == "") & (frame[["width", "height"]].min(axis=1) < min_size)] = TOO_SMALL
    if max_size is not None:
        reason[(reason == "") & (frame[["width", "height"]].max(axis=1) > max_size)] = TOO_LARGE
    conflicting = _no_conflicts()
    if dedup and scope == "dataset":
        conflicting = _conflicts(_rest(table, reason), threshold, progress)
        reason[conflicting.index] = CONFLICT
    if dedup:  # after the conflicts are gone, no near-duplicates over classes are left
        found = _twins(_rest(table, reason), threshold, progress if scope == "class" else None)
        reason[found.index] = DUPLICATE
        twin[found.index] = found
    if min_per_class is not None:
        left = frame["label"][reason == ""]
        small = left.map(left.value_counts()) < min_per_class
        reason[small.index[small]] = SMALL_CLASS
    gone = reason != ""
    if gone.all():
        raise DataError(_nothing_left(table, reason))
    removed = frame[gone].assign(reason=reason[gone], kept=twin[gone])
    return Filtered(*(part.reset_index(drop=True) for part in (frame[~gone], removed, conflicting)))


def check_options(
    exclude: Collection[str] | None,
    min_size: int | None,
    max_size: int | None,
    dedup: bool,
    threshold: int,
    min_per_class: int | None,
) -> None:
    """DataError when they contradict each other or ask for nothing: known before there is a table."""
    problems = []
    if not dedup and all(option is None for option in (exclude, min_size, max_size, min_per_class)):
        problems.append(
            "nothing to filter by. Give at least one of --dedup, --min-size, --max-size, --min-per-class, --exclude"
        )
    for name, value in (("--min-size", min_size), ("--max-size", max_size), ("--min-per-class", min_per_class)):
        if value is not None and value < 1:
            problems.append(f"{name} must be at least 1, got {value}")
    if min_size is not None and max_size is not None and min_size > max_size:
        problems.append(f"--min-size {min_size} is above --max-size {max_size}: no picture could stay")
    if not 0 <= threshold <= MAX_THRESHOLD:
        problems.append(f"--threshold must be within 0..{MAX_THRESHOLD} (bits of 64), got {threshold}")
    if problems:
        raise DataError(problems)


def _check_table(table: Table, exclude: Collection[str] | None, sizes: int | None, dedup: bool) -> None:
    names, columns, problems = table.frame["file_name"], table.frame.columns, []
    if sizes and not {"width", "height"} <= set(columns):
        problems.append(f"{table.name}: has no columns 'width' and 'height' to compare. Run eml scan to have them")
    if exclude is not None and not names.isin(list(exclude)).any():
        told = f"--exclude: none of its {len(exclude):,} pictures is in {table.name}"
        problems.append(f"{told}. Are its file names spelt as there?")
    if dedup and "hash" in columns and names.duplicated().any():
        problems.append(f"{table.name}: --dedup compares whole pictures, and some are there with several boxes")
    if problems:
        raise DataError(problems)


def _rest(table: Table, reason: "pd.Series[str]") -> Table:
    """The rows that no reason has removed so far."""
    return Table(table.frame[reason == ""], table.root, table.path)


def _twins(table: Table, threshold: int, progress: Callable[[int], None] | None) -> "pd.Series[str]":
    """The file_name of the twin that stays, for the rows that are duplicates within their class."""
    frame = table.frame
    labels = pd.factorize(frame["label"], sort=True)[0].astype(np.int64)
    twin = twins(hash_values(table), labels, keeping_order(frame), threshold, progress)
    names = frame["file_name"].to_numpy()
    return pd.Series(names[twin[twin >= 0]], index=frame.index[twin >= 0], dtype=frame["file_name"].dtype)


def _no_conflicts() -> pd.DataFrame:
    return pd.DataFrame(columns=["group", "file_name", "label", "distance"])


def _conflicts(table: Table, threshold: int, progress: Callable[[int], None] | None) -> pd.DataFrame:
    """The rows that are near-duplicates of one with another label; groups are numbered by their first file_name."""
    frame = table.frame
    labels = pd.factorize(frame["label"], sort=True)[0].astype(np.int64)
    component, distance = conflicts(hash_values(table), labels, threshold, progress)
    found = frame[["file_name", "label"]].assign(component=component, distance=distance)
    found = found[found["distance"] >= 0].sort_values("file_name")
    found["group"] = pd.factorize(found["component"])[0] + 1
    return found.sort_values(["group", "file_name"])[["group", "file_name", "label", "distance"]]


def _nothing_left(table: Table, reason: "pd.Series[str]") -> str:
    counts = reason.value_counts()
    told = ", ".join(f"{counts[name]:,} {name}" for name in REASONS if name in counts)
    return f"{table.name}: no picture would be left of {len(reason):,} ({told}). Filter less strictly"
