"""Groups of images that split and kfold keep together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from eml.commands.base import Caller

if TYPE_CHECKING:
    from eml.dataset.splits.groups import RowGroups
    from eml.dataset.table import Table


def check_near(near: bool, threshold: int | None) -> None:
    """Raise ValueError for a threshold of a comparison that is not made."""
    if not near and threshold is not None:
        raise ValueError("`threshold` has no effect with `near=False`; leave one of them out")


def group_images(
    table: Table,
    caller: Caller,
    *,
    group_by: Sequence[str],
    near: bool,
    threshold: int | None,
    whole_classes: bool = False,
) -> RowGroups:
    """Group a table's rows, with a progress bar; pass the warnings on."""
    from eml.dataset.splits.groups import group_rows

    with caller.progress("comparing", len(table.frame)) as advance:
        groups = group_rows(
            table, group_by=group_by, near=near, threshold=threshold, whole_classes=whole_classes, progress=advance
        )
    for line in groups.warnings:
        caller.warn(line)
    return groups


def grouping_words(group_by: Sequence[str], near: bool, threshold: int | None) -> list[str]:
    """Return the options by which the next command groups the images alike."""
    words = [word for name in group_by for word in ("--group-by", name)]
    words += [] if near else ["--no-near"]
    return words + ([] if threshold is None else ["--threshold", str(threshold)])


def sidecar_notes(groups: RowGroups, table: Table) -> dict[str, Any]:
    """Return what the sidecar keeps: the threshold, within which eml audit then looks, and the unknown label."""
    from eml.dataset.unknown_label import unknown_label_notes

    notes = {} if groups.threshold is None else {"threshold": groups.threshold}
    return notes | unknown_label_notes(table)
