"""From a table to its data report."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eml.dataset.filter import THRESHOLD
from eml.dataset.table import Table
from eml.dataset.unknown_label import unknown_label_hint
from eml.progress import Progress
from eml.reports.data.facts import (
    DataFacts,
    count_blank,
    count_classes,
    count_formats,
    count_unusable,
    measure_sizes,
    to_json,
)
from eml.reports.data.look_alikes import LookAlikes, count_look_alikes, find_look_alikes
from eml.reports.data.suggestions import Suggestion, suggest
from eml.reports.data.table_states import read_table_states

ERRORS_LISTED = 50  # files of each reason


@dataclass(frozen=True)
class DataReport:
    """The numbers of a table, its look-alikes, and the commands to run next."""

    table: Table
    """One row per file."""
    facts: DataFacts
    look_alikes: LookAlikes | None
    """None if the images cannot be compared."""
    suggestions: list[Suggestion]

    def to_json(self) -> dict[str, Any]:
        """Return the facts and suggestions as JSON takes them."""
        return {**to_json(self.facts), "suggestions": to_json(self.suggestions)}


def examine(
    table: Table,
    *,
    dataset: Path,
    root: Path | None = None,
    options: Sequence[str] = (),
    threshold: int = THRESHOLD,
    command: str | None = None,
    progress: Progress | None = None,
) -> DataReport:
    """Examine a table and the tables beside it. Of the images, only candidates for duplicates are read.

    Args:
        table: The table.
        dataset: The folder or table, as the suggested commands name it.
        root: The folder of the images, as the suggested commands name it; None if they need none.
        options: Of the suggested commands that read this table, if it is the user's own.
        threshold: How many bits of 64 the hashes of look-alikes may differ by.
        command: The command line that examines it, for a hint at a label of unknown images.
        progress: Reports the progress of the comparison.

    Raises:
        DataError: The table's hashes cannot be used.
    """
    frame = table.frame
    files = replace(table, frame=frame.drop_duplicates("file_name").reset_index(drop=True))
    not_compared = _reason_not_to_compare(table)
    look_alikes = find_look_alikes(files, threshold, progress) if not_compared is None else None
    facts = DataFacts(
        dataset=dataset,
        table=table.path or None,
        root=table.root,
        images=len(files.frame),
        classes=int(files.known.frame["label"].nunique()),
        unknown_label=table.unknown_label,
        unknown_images=int(files.is_unknown.sum()),
        label_hint=unknown_label_hint(table, command),
        bytes=int(files.frame["bytes"].sum()) if "bytes" in files.frame.columns else None,
        boxes=len(frame) if len(frame) > len(files.frame) else None,
        class_sizes=count_classes(table.known.frame["label"]),
        sizes=measure_sizes(files.frame),
        formats=count_formats(files.frame),
        errors=count_unusable(table.path, ERRORS_LISTED),
        blank=count_blank(files.frame),
        look_alikes=count_look_alikes(look_alikes) if look_alikes else None,
        not_compared=not_compared,
        tables=read_table_states(table.path.parent if table.path else table.root),
    )
    return DataReport(files, facts, look_alikes, suggest(files, look_alikes, facts, root, options))


def _reason_not_to_compare(table: Table) -> str | None:
    """Say why the images cannot be compared; return None if they can."""
    if "hash" not in table.frame.columns:
        return "The table has no hashes to compare; a table that eml scan makes of a folder has them."
    if table.frame["file_name"].duplicated().any():
        return "Hashes are of whole images, and some images of this table have several boxes."
    return None
