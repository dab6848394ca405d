"""Removing images by list, by size, as duplicates, and in classes that are too small; no file is changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from eml.dataset.columns import seen_sizes
from eml.dataset.duplicates.chance_collisions import PairsAcrossClasses
from eml.dataset.duplicates.dedup import MAX_THRESHOLD, DedupRules, Duplicates, find_duplicates
from eml.dataset.duplicates.dedup import THRESHOLD as THRESHOLD
from eml.dataset.problems import at_lines, short_repr
from eml.dataset.table import Table
from eml.errors import DataError, Problem
from eml.progress import Progress

EXCLUDED, TOO_SMALL, TOO_LARGE = "excluded", "too_small", "too_large"
CONFLICT, DUPLICATE, SMALL_CLASS = "label_conflict", "duplicate", "small_class"
REASONS = (EXCLUDED, TOO_SMALL, TOO_LARGE, CONFLICT, DUPLICATE, SMALL_CLASS)
"""In the order in which they are applied."""

_NO_DUPLICATES = Duplicates(pd.Series(dtype=str), pd.DataFrame(columns=["group", "file_name", "label", "distance"]))


@dataclass(frozen=True)
class FilterRules:
    """Which images to remove."""

    exclude: Mapping[Path, Sequence[str]] = field(default_factory=dict)
    """The file_names to leave out, by the table that lists them; each must be in the filtered table."""
    min_size: int | None = None
    """Fewest pixels of the shorter side."""
    max_size: int | None = None
    """Most pixels of the longer side."""
    dedup: DedupRules | None = None
    """How duplicates are removed; None keeps them."""
    min_per_class: int | None = None
    """Fewest images of a class, after all other removals."""

    def check(self) -> None:
        """Raise a DataError where the rules contradict each other or remove nothing; needs no table."""
        problems = []
        rules = (self.min_size, self.max_size, self.dedup, self.min_per_class)
        if not self.exclude and all(rule is None for rule in rules):
            names = "`dedup`, `min_size`, `max_size`, `min_per_class`, `exclude`"
            problems.append(Problem(f"no rule to filter by. Give at least one of {names}", "missing-key"))
        problems += self._range_problems()
        if self.dedup and self.dedup.hash_only and self.dedup.scope == "dataset":
            text = '`hash_only` needs `scope="class"`: images of different classes are never removed by the hash alone'
            problems.append(Problem(text, "conflicting-settings", "hash_only"))
        if problems:
            raise DataError(problems)

    def _range_problems(self) -> list[Problem]:
        problems = []
        for name in ("min_size", "max_size", "min_per_class"):
            value: int | None = getattr(self, name)
            if value is not None and value < 1:
                problems.append(Problem(f"`{name}` must be at least 1, got {value}", "out-of-range", name))
        if self.min_size is not None and self.max_size is not None and self.min_size > self.max_size:
            text = f"`min_size` {self.min_size} is above `max_size` {self.max_size}: no image could stay"
            problems.append(Problem(text, "conflicting-settings", "min_size"))
        if self.dedup and not 0 <= self.dedup.threshold <= MAX_THRESHOLD:
            text = f"`threshold` must be between 0 and {MAX_THRESHOLD} (bits of 64), got {self.dedup.threshold}"
            problems.append(Problem(text, "out-of-range", "threshold"))
        return problems


@dataclass(frozen=True)
class FilterCounts:
    """Images and classes before and after a filter."""

    images_before: int
    classes_before: int
    removed: dict[str, int]
    """Images by reason, in the order of `REASONS`."""
    images: int
    classes: int
    classes_lost: list[str]
    """Classes without an image left, sorted."""
    conflict_groups: int
    conflict_images: int
    pairs_across_classes: PairsAcrossClasses | None
    """None where the classes were not compared."""
    unknown_images: int = 0
    """Images of the unknown label that stay; they are among `images` and of no class."""


@dataclass(frozen=True)
class FilteredTable:
    """The rows that a filter keeps and removes."""

    kept: pd.DataFrame
    """The rows that stay, in their order."""
    removed: pd.DataFrame
    """The rows that leave, with `reason` (one of `REASONS`) and, for duplicates, `kept`: the file_name of the twin
    that stays."""
    conflicts: pd.DataFrame
    """`group, file_name, label, distance`: images that occur with another label too; bits to the nearest."""
    counts: FilterCounts


def filter_table(table: Table, rules: FilterRules, progress: Progress | None = None) -> FilteredTable:
    """Remove images in this order: exclude, sizes, label conflicts, duplicates, small classes.

    Of images within the threshold of one another and with the same label one stays. Images that occur with different
    labels are label conflicts, and all of them leave. Each pair is verified by comparing the images. Of an image that
    occurs with the unknown label and a known one the known one stays; the unknown label is no class that could be too
    small.

    Args:
        table: The rows to filter.
        rules: Which images to remove.
        progress: Shows the comparison of hashes and images.

    Raises:
        DataError: A rule cannot be applied, no rule is given, no image would be left, or an image that must be
            compared cannot be read.
    """
    rules.check()
    _check_table(table, rules)
    frame = table.frame
    reason = _reasons_by_row(frame, rules)
    twin = pd.Series("", index=frame.index)
    duplicates = _NO_DUPLICATES
    if rules.dedup:
        rest = replace(table, frame=frame[reason == ""])
        duplicates = find_duplicates(rest, rules.dedup, progress)
        if rules.dedup.conflicts == "remove":
            reason[duplicates.conflicts.index] = CONFLICT
        reason[duplicates.twins.index] = DUPLICATE
        twin[duplicates.twins.index] = duplicates.twins
    if rules.min_per_class is not None:
        left = frame["label"][(reason == "") & ~table.is_unknown]
        small = left.map(left.value_counts()) < rules.min_per_class
        reason[small.index[small]] = SMALL_CLASS
    gone = reason != ""
    if (gone | table.is_unknown).all():
        raise DataError(_nothing_left(table, reason), code="nothing-left")
    removed = frame[gone].assign(reason=reason[gone], kept=twin[gone])
    kept, removed, conflicts = (part.reset_index(drop=True) for part in (frame[~gone], removed, duplicates.conflicts))
    return FilteredTable(kept, removed, conflicts, _counts(table, kept, removed, duplicates))


def _reasons_by_row(frame: pd.DataFrame, rules: FilterRules) -> "pd.Series[str]":
    """Return (N,) the reason to remove a row by list or size, "" for the others."""
    reason = pd.Series("", index=frame.index)
    for names in rules.exclude.values():
        reason[frame["file_name"].isin(list(names))] = EXCLUDED
    sizes = seen_sizes(frame)
    if rules.min_size is not None and sizes is not None:
        reason[(reason == "") & (sizes.min(axis=1) < rules.min_size)] = TOO_SMALL
    if rules.max_size is not None and sizes is not None:
        reason[(reason == "") & (sizes.max(axis=1) > rules.max_size)] = TOO_LARGE
    return reason


def _counts(table: Table, kept: pd.DataFrame, removed: pd.DataFrame, duplicates: Duplicates) -> FilterCounts:
    reasons = removed["reason"].value_counts()
    before, after = table.known.frame["label"], replace(table, frame=kept).known.frame["label"]
    return FilterCounts(
        images_before=len(table.frame),
        classes_before=int(before.nunique()),
        removed={name: int(reasons[name]) for name in REASONS if name in reasons},
        images=len(kept),
        classes=int(after.nunique()),
        classes_lost=sorted(set(before) - set(after)),
        conflict_groups=int(duplicates.conflicts["group"].nunique()),
        conflict_images=len(duplicates.conflicts),
        pairs_across_classes=duplicates.pairs_across_classes,
        unknown_images=len(kept) - len(after),
    )


def _check_table(table: Table, rules: FilterRules) -> None:
    problems: list[str] = []
    if (rules.min_size or rules.max_size) and seen_sizes(table.frame) is None:
        text = f"{table.name}: has no columns 'width' and 'height' to compare"
        problems.append(Problem(f"{text}. eml scan FOLDER makes a table that has them", "missing-column"))
    for source, names in rules.exclude.items():
        problems += _unknown_names(table, names, source)
    if rules.dedup and "hash" in table.frame.columns and table.frame["file_name"].duplicated().any():
        text = f"{table.name}: `dedup` compares whole images, and some occur with several boxes"
        problems.append(Problem(text, "several-boxes", "dedup"))
    if problems:
        raise DataError(problems)


def _unknown_names(table: Table, names: Sequence[str], source: Path) -> list[str]:
    """Return problems for names in no row: a list for another table, or a typo that would keep an image unnoticed."""
    known = set(table.frame["file_name"])
    unknown = [(row, name) for row, name in enumerate(names) if name not in known]
    if not unknown:
        return []
    if len(unknown) == len(names):
        text = f"{source}: `exclude`: none of its {len(names):,} images is in {table.name}"
        return [Problem(f"{text}. Check the spelling of its file names", "unknown-image", "exclude")]
    text = f"is not in {table.name}. Delete the line, or give the table that the list was made from"
    return at_lines(
        source,
        [(row, Problem(f"`exclude`: {short_repr(name)} {text}", "unknown-image", "exclude")) for row, name in unknown],
    )


def _nothing_left(table: Table, reason: "pd.Series[str]") -> str:
    counts = reason.value_counts()
    removed = ", ".join(f"{counts[name]:,} {name}" for name in REASONS if name in counts)
    unknown = int((table.is_unknown & (reason == "")).sum())
    rest = f" but {unknown:,} with the unknown label {table.unknown_label!r}" if unknown else ""
    return f"{table.name}: no image would be left of {len(reason):,} ({removed}){rest}. Filter less strictly"
