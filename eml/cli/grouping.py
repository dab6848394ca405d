"""Grouping as kfold and split do it, and what they say of it."""

from typing import TYPE_CHECKING

from eml.errors import DataError

if TYPE_CHECKING:
    from eml.dataset.splits.groups import RowGroups
    from eml.dataset.table import Table


def check_near(threshold: int | None, no_near: bool) -> None:
    """DataError for a threshold of a comparison that is not made."""
    if no_near and threshold is not None:
        raise DataError("--threshold says what looks alike, and --no-near that it does not matter: give one of them")


def grouped(
    table: "Table",
    group_by: list[str] | None,
    threshold: int | None,
    no_near: bool,
    *,
    whole_classes: bool = False,
    within_class: bool = False,
) -> "RowGroups":
    """`group_rows` with a progress bar; the user is told its warnings."""
    from eml.cli.display import console
    from eml.dataset.splits.groups import group_rows

    with console.progress("comparing", len(table.frame)) as advance:
        groups = group_rows(
            table,
            group_by=group_by or (),
            near=not no_near,
            threshold=threshold,
            whole_classes=whole_classes,
            within_class=within_class,
            progress=advance,
        )
    for line in groups.warnings:
        console.warn(line)
    return groups


def note(groups: int, images: int, largest: int, total: int) -> None:
    """One line on the groups of several images."""
    from eml.cli.display import console

    if groups:
        of = f"{images:,} of {total:,} images"
        console.say(f"{console.count(groups, 'group', 'groups')} of several hold {of}; the largest has {largest:,}")


def notes(groups: "RowGroups") -> dict[str, int]:
    """For the sidecar: the threshold, by which eml audit then looks."""
    return {} if groups.threshold is None else {"threshold": groups.threshold}
