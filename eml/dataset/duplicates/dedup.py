"""What `filter` does about duplicates: images with contradictory labels go, and of every other group one stays."""

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.duplicates.chance_collisions import Expected, by_chance
from eml.dataset.duplicates.components import Indices
from eml.dataset.duplicates.duplicates import Keep, hash_values, keeping_order, twins, twins_of_pairs
from eml.dataset.duplicates.label_conflicts import conflicts_of, exact_conflicts
from eml.dataset.duplicates.same_images import SameImages, same_images
from eml.dataset.table import Table
from eml.progress import Progress

Scope = Literal["class", "dataset"]
OnConflict = Literal["remove", "keep"]


def _no_conflicts() -> pd.DataFrame:
    return pd.DataFrame(columns=["group", "file_name", "label", "distance"])


@dataclass(frozen=True)
class Duplicates:
    """Both by the index of the table's rows."""

    twins: "pd.Series[str]" = field(default_factory=lambda: pd.Series(dtype=str))
    """Of rows that are to go, the file_name of the twin that stays."""
    conflicts: pd.DataFrame = field(default_factory=_no_conflicts)
    """`group, file_name, label, distance`."""
    collisions: Expected | None = None
    confirmed: int = 0
    """Pairs over classes."""


def find_duplicates(
    table: Table,
    threshold: int,
    scope: Scope,
    keep: Keep,
    hash_only: bool,
    on_conflict: OnConflict,
    progress: Progress | None,
) -> Duplicates:
    """Conflicts and twins, as `filter_table` describes them. Twins are not sought among conflicts that are to go."""
    if scope == "dataset":
        return _over_the_dataset(table, threshold, keep, on_conflict, progress)
    conflicts = exact_conflicts(table)
    gone = np.zeros(len(table.frame), dtype=bool)
    if on_conflict == "remove":
        gone = table.frame.index.isin(conflicts.index)
    rest = Table(table.frame[~gone], table.root, table.path)
    rank = keeping_order(rest.frame, keep)
    if hash_only:
        labels = pd.factorize(rest.frame["label"])[0].astype(np.int64)
        with progress("comparing hashes", len(rank)) if progress else nullcontext() as advance:
            twin = twins(hash_values(rest), labels, rank, threshold, advance)
    else:
        same = same_images(rest, threshold, "within", progress)
        twin = confirmed_twins(same, rank)
    return Duplicates(_named(rest.frame, twin), conflicts)


def _over_the_dataset(
    table: Table, threshold: int, keep: Keep, on_conflict: OnConflict, progress: Progress | None
) -> Duplicates:
    same = same_images(table, threshold, "all", progress)
    conflicts = conflicts_of(table, same)
    gone = np.zeros(len(table.frame), dtype=bool)
    if on_conflict == "remove":
        gone = table.frame.index.isin(conflicts.index)
    twin = confirmed_twins(same, keeping_order(table.frame, keep), gone)
    values, labels = hash_values(table), pd.factorize(table.frame["label"])[0].astype(np.int64)
    pairs, compared = by_chance(values, labels, threshold)
    collisions = Expected(pairs, same.found_across, compared)
    return Duplicates(_named(table.frame, twin), conflicts, collisions, same.confirmed_across())


def confirmed_twins(same: SameImages, rank: Indices, gone: NDArray[np.bool_] | None = None) -> Indices:
    """(N,) of each row the row of its class that stays in its place, −1 for those that stay or are gone already."""
    gone = np.zeros(len(rank), dtype=bool) if gone is None else gone
    files = same.files
    best = np.full(len(files.row), len(rank))
    np.minimum.at(best, files.of_row, rank)
    best_row = np.argsort(rank)[best]  # of each file
    i, j, distance = same.within()
    left = ~gone[files.row[i]] & ~gone[files.row[j]]  # the rows of a file go together
    twin = twins_of_pairs(best, i[left], j[left], distance[left])
    owner = best_row[np.where(twin >= 0, twin, np.arange(len(twin)))[files.of_row]]
    return np.where(gone | (owner == np.arange(len(rank))), -1, owner)


def _named(frame: pd.DataFrame, twin: Indices) -> "pd.Series[str]":
    names = frame["file_name"].to_numpy()
    return pd.Series(names[twin[twin >= 0]], index=frame.index[twin >= 0], dtype=frame["file_name"].dtype)
