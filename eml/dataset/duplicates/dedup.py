"""Duplicates as `filter` treats them: images with contradictory labels leave, and of every other group one stays."""

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.duplicates.blank import apart_where_blank, blank_rows
from eml.dataset.duplicates.chance_collisions import PairsAcrossClasses, expected_by_chance
from eml.dataset.duplicates.components import Indices
from eml.dataset.duplicates.duplicates import Keep, hash_values, keeping_order, twins, twins_of_pairs
from eml.dataset.duplicates.label_conflicts import conflicts_of, exact_conflicts
from eml.dataset.duplicates.same_images import SameImages, same_images
from eml.dataset.table import Table
from eml.progress import Progress

Scope = Literal["class", "dataset"]
OnConflict = Literal["remove", "keep"]

THRESHOLD = 10  # bits of 64: re-encoded, resized and lightly retouched copies are nearly always within it
MAX_THRESHOLD = 63


@dataclass(frozen=True)
class DedupRules:
    """Which images count as duplicates, and which of them stay."""

    threshold: int = THRESHOLD
    """Largest distance of two duplicates' hashes, in bits of 64 (0..63)."""
    scope: Scope = "class"
    """Compare images within each class, or all images with one another."""
    keep: Keep = "largest"
    """The image of a group that stays; see `keeping_order`."""
    hash_only: bool = False
    """Remove by the hash alone, without comparing the images (scope class only)."""
    conflicts: OnConflict = "remove"
    """Whether images that occur with different labels are removed or only listed: in scope class identical files, in
    scope dataset near-duplicates too."""


@dataclass(frozen=True)
class Duplicates:
    """The duplicates of a table, by the index of its rows."""

    twins: "pd.Series[str]"
    """For rows that are to be removed: the file_name of the twin that stays. An image with the unknown label may be
    the twin of one with another label, which then stays."""
    conflicts: pd.DataFrame
    """`group, file_name, label, distance`."""
    pairs_across_classes: PairsAcrossClasses | None = None
    """None where the classes were not compared."""


def find_duplicates(table: Table, rules: DedupRules, progress: Progress | None = None) -> Duplicates:
    """Return conflicts and twins. Images that leave as conflicts are nobody's twins."""
    if rules.scope == "dataset":
        return _over_the_dataset(table, rules, progress)
    conflicts, copies = exact_conflicts(table), _copies_of_known(table, rules.keep)
    gone = table.frame.index.isin(copies.index)
    if rules.conflicts == "remove":
        gone |= table.frame.index.isin(conflicts.index)
    rest = replace(table, frame=table.frame[~gone])
    rank = keeping_order(rest.frame, rules.keep)
    if rules.hash_only:
        labels = apart_where_blank(pd.factorize(rest.frame["label"])[0].astype(np.int64), blank_rows(rest.frame))
        with progress("comparing hashes", len(rank)) if progress else nullcontext() as advance:
            twin = twins(hash_values(rest), labels, rank, rules.threshold, advance)
    else:
        same = same_images(rest, rules.threshold, "within", progress)
        twin = verified_twins(same, rank)
    names = _names_of(rest.frame, twin)
    stays = dict(zip(rest.frame["file_name"][names.index], names, strict=True))
    return Duplicates(pd.concat([names, copies.map(lambda name: stays.get(name, name))]), conflicts)


def _over_the_dataset(table: Table, rules: DedupRules, progress: Progress | None) -> Duplicates:
    same = same_images(table, rules.threshold, "all", progress)
    conflicts = conflicts_of(table, same)
    rank = keeping_order(table.frame, rules.keep)
    copied = _known_twins(table, same, rank)
    gone = copied >= 0
    if rules.conflicts == "remove":
        gone |= table.frame.index.isin(conflicts.index)
    twin = verified_twins(same, rank, gone)
    stays = np.where(twin >= 0, twin, np.arange(len(twin)))  # of each row's copies
    twin = np.where(copied >= 0, stays[copied], twin)
    shown = ~blank_rows(table.frame)
    values, labels = hash_values(table)[shown], pd.factorize(table.frame["label"])[0].astype(np.int64)[shown]
    expected, compared = expected_by_chance(values, labels, rules.threshold)
    pairs = PairsAcrossClasses(compared, same.near_across, expected, same.count_across())
    return Duplicates(_names_of(table.frame, twin), conflicts, pairs)


def _copies_of_known(table: Table, keep: Keep) -> "pd.Series[str]":
    """Return, for rows of the unknown label whose file is also there with a known one, the name of the first such."""
    frame, unknown = table.frame, table.is_unknown
    if not unknown.any() or "content" not in frame.columns:
        return pd.Series(dtype=frame["file_name"].dtype)
    known = frame[~unknown & (frame["content"] != "") & ~blank_rows(frame)]
    first = known.iloc[np.argsort(keeping_order(known, keep))].drop_duplicates("content")
    names = frame["content"][unknown].map(first.set_index("content")["file_name"])
    return names.dropna()


def _known_twins(table: Table, same: SameImages, rank: Indices) -> Indices:
    """(N,) for each row of the unknown label the nearest row of a known label that shows the same, −1 without any."""
    unknown, files = table.is_unknown[same.files.row], same.files
    i, j, distance = same.across()
    mixed = unknown[i] != unknown[j]
    first, second = np.where(unknown[i], i, j)[mixed], np.where(unknown[i], j, i)[mixed]
    order = np.lexsort((rank[files.row[second]], distance[mixed], first))
    copies, nearest = np.unique(first[order], return_index=True)
    twin = np.full(len(files.row), -1)
    twin[copies] = files.row[second[order][nearest]]
    return np.asarray(twin[files.of_row])


def verified_twins(same: SameImages, rank: Indices, gone: NDArray[np.bool_] | None = None) -> Indices:
    """(N,) for each row the row of its class that stays in its place, −1 for rows that stay or are already gone."""
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


def _names_of(frame: pd.DataFrame, twin: Indices) -> "pd.Series[str]":
    names = frame["file_name"].to_numpy()
    return pd.Series(names[twin[twin >= 0]], index=frame.index[twin >= 0], dtype=frame["file_name"].dtype)
