"""Removing images by list, by size, as duplicates, and as classes too small; nothing on disk is touched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from eml.dataset.columns import seen_sizes
from eml.dataset.duplicates.chance_collisions import Expected
from eml.dataset.duplicates.dedup import Duplicates, OnConflict, Scope, find_duplicates
from eml.dataset.duplicates.duplicates import Keep
from eml.dataset.problems import at_lines
from eml.dataset.table import Table
from eml.errors import DataError
from eml.progress import Progress

THRESHOLD = 10  # bits of 64: re-encoded, resized and lightly retouched copies are nearly always within it
MAX_THRESHOLD = 63

EXCLUDED, TOO_SMALL, TOO_LARGE = "excluded", "too_small", "too_large"
CONFLICT, DUPLICATE, SMALL_CLASS = "label_conflict", "duplicate", "small_class"
REASONS = (EXCLUDED, TOO_SMALL, TOO_LARGE, CONFLICT, DUPLICATE, SMALL_CLASS)  # in the order in which they are applied


@dataclass(frozen=True)
class Filtered:
    """What stays, what goes and why."""

    kept: pd.DataFrame
    """The rows that stay, in their order."""
    removed: pd.DataFrame
    """The others, with `reason` (one of `REASONS`) and, for duplicates, `kept`: the file_name of the twin that stayed.
    """
    conflicts: pd.DataFrame
    """`group, file_name, label, distance`: images that are there with another label too; bits to the nearest."""
    collisions: Expected | None = None
    """Pairs over classes with near hashes, and how many chance would make; where the classes were compared."""
    confirmed: int = 0
    """Those of these pairs that a second look confirmed."""


def filter_table(
    table: Table,
    *,
    exclude: Mapping[Path, Sequence[str]] | None = None,
    min_size: int | None = None,
    max_size: int | None = None,
    dedup: bool = False,
    threshold: int = THRESHOLD,
    scope: Scope = "class",
    keep: Keep = "largest",
    hash_only: bool = False,
    conflicts: OnConflict = "remove",
    min_per_class: int | None = None,
    progress: Progress | None = None,
) -> Filtered:
    """The images worth training on, in this order: exclude, sizes, label conflicts, duplicates, classes.

    exclude: file_names to leave out, each of which must be there, by the table whose rows they are.
    min_size, max_size: pixels of the shorter, of the longer side. dedup: one image stays of those within `threshold`
    bits (0..63) and with the same label; `keep` says which, see `keeping_order`.
    Images that are there with different labels are label conflicts, and all of them leave, unless `conflicts` is
    "keep": with scope class only identical files, with scope dataset also near-duplicates. Every pair is confirmed by a
    second look at the images; hash_only removes within classes without it (scope class only).
    min_per_class: counted after all other removals.
    progress: (description, total) → context manager → function told how many are newly done.
    Raises DataError when an option cannot be applied, when nothing is asked for, when nothing would be left, and when
    an image to be looked at cannot be read.
    """
    check_options(exclude, min_size, max_size, dedup, threshold, min_per_class, scope, hash_only)
    _check_table(table, exclude or {}, min_size or max_size, dedup)
    frame = table.frame
    reason = pd.Series("", index=frame.index)
    twin = pd.Series("", index=frame.index)
    for names in (exclude or {}).values():
        reason[frame["file_name"].isin(list(names))] = EXCLUDED
    sizes = seen_sizes(frame)
    if min_size is not None and sizes is not None:
        reason[(reason == "") & (sizes.min(axis=1) < min_size)] = TOO_SMALL
    if max_size is not None and sizes is not None:
        reason[(reason == "") & (sizes.max(axis=1) > max_size)] = TOO_LARGE
    found = Duplicates()
    if dedup:
        rest = Table(frame[reason == ""], table.root, table.path)
        found = find_duplicates(rest, threshold, scope, keep, hash_only, conflicts, progress)
        if conflicts == "remove":
            reason[found.conflicts.index] = CONFLICT
        reason[found.twins.index] = DUPLICATE
        twin[found.twins.index] = found.twins
    if min_per_class is not None:
        left = frame["label"][reason == ""]
        small = left.map(left.value_counts()) < min_per_class
        reason[small.index[small]] = SMALL_CLASS
    gone = reason != ""
    if gone.all():
        raise DataError(_nothing_left(table, reason))
    removed = frame[gone].assign(reason=reason[gone], kept=twin[gone])
    kept, removed, listed = (part.reset_index(drop=True) for part in (frame[~gone], removed, found.conflicts))
    return Filtered(kept, removed, listed, found.collisions, found.confirmed)


def check_options(
    exclude: Mapping[Path, Sequence[str]] | None,
    min_size: int | None,
    max_size: int | None,
    dedup: bool,
    threshold: int,
    min_per_class: int | None,
    scope: Scope = "class",
    hash_only: bool = False,
) -> None:
    """DataError when they contradict each other or ask for nothing: known before there is a table."""
    problems = []
    if not dedup and all(option is None for option in (exclude or None, min_size, max_size, min_per_class)):
        problems.append(
            "nothing to filter by. Give at least one of --dedup, --min-size, --max-size, --min-per-class, --exclude"
        )
    for name, value in (("--min-size", min_size), ("--max-size", max_size), ("--min-per-class", min_per_class)):
        if value is not None and value < 1:
            problems.append(f"{name} must be at least 1, got {value}")
    if min_size is not None and max_size is not None and min_size > max_size:
        problems.append(f"--min-size {min_size} is above --max-size {max_size}: no image could stay")
    if not 0 <= threshold <= MAX_THRESHOLD:
        problems.append(f"--threshold must be within 0..{MAX_THRESHOLD} (bits of 64), got {threshold}")
    if hash_only and scope == "dataset":
        problems.append("--hash-only goes with --scope class: over classes, nothing is removed on the hash alone")
    if problems:
        raise DataError(problems)


def _check_table(table: Table, exclude: Mapping[Path, Sequence[str]], sizes: int | None, dedup: bool) -> None:
    names, columns, problems = table.frame["file_name"], table.frame.columns, []
    if sizes and seen_sizes(table.frame) is None:
        told = "has no columns 'width' and 'height' to compare"
        problems.append(f"{table.name}: {told}. eml scan FOLDER makes a table that has them")
    for source, listed in exclude.items():
        problems += _unknown(table, listed, source)
    if dedup and "hash" in columns and names.duplicated().any():
        problems.append(f"{table.name}: --dedup compares whole images, and some are there with several boxes")
    if problems:
        raise DataError(problems)


def _unknown(table: Table, exclude: Sequence[str], source: Path) -> list[str]:
    """Names that are in no row: a list for another table, or a slip that would leave an image in unseen."""
    there = set(table.frame["file_name"])
    unknown = [(row, name) for row, name in enumerate(exclude) if name not in there]
    if not unknown:
        return []
    if len(unknown) == len(exclude):
        told = f"{source}: --exclude: none of its {len(exclude):,} images is in {table.name}"
        return [f"{told}. Are its file names spelt as there?"]
    told = f"is not in {table.name}. Delete the line, or give the table that the list was made from"
    return at_lines(source, [(row, f"--exclude: {name!r} {told}") for row, name in unknown])


def _nothing_left(table: Table, reason: "pd.Series[str]") -> str:
    counts = reason.value_counts()
    told = ", ".join(f"{counts[name]:,} {name}" for name in REASONS if name in counts)
    return f"{table.name}: no image would be left of {len(reason):,} ({told}). Filter less strictly"
