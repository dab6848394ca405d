"""Keep what a scan was told of labels: which folder is the class, and which label is of unknown identity."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eml.dataset.ancestry import OVERWRITE
from eml.dataset.scanning.class_level import FIRST, ClassLevel, parse_class_level
from eml.dataset.sidecar import (
    UNKNOWN_LABEL,
    denies_unknown_label,
    edited_by_hand,
    recorded_notes,
    recorded_root,
    sources,
    unknown_label_in,
)
from eml.dataset.table import Table
from eml.dataset.unknown_label import with_a_class, with_label_if_present, with_unknown_label
from eml.errors import DataError
from eml.files import real_path
from eml.progress import Report

CLASS_LEVEL = "class_level"


@dataclass(frozen=True)
class ScanSettings:
    """The settings of a scan that decide its labels.

    Attributes:
        class_level: Which folder is the class; None: the first, as nobody said anything.
        unknown_label: The label of images of unknown identity; "": there are none; None: nobody said anything.
    """

    class_level: ClassLevel | None = None
    unknown_label: str | None = None

    @classmethod
    def of_notes(cls, notes: Mapping[str, Any]) -> "ScanSettings":
        """Return what the notes of a scanned table say; what cannot be understood counts as not said."""
        try:
            level = parse_class_level(notes[CLASS_LEVEL])
        except (KeyError, ValueError):
            level = None
        return cls(level, "" if denies_unknown_label(notes) else unknown_label_in(notes))

    @property
    def level(self) -> ClassLevel:
        """The level that is scanned with."""
        return self.class_level or FIRST

    @property
    def notes(self) -> dict[str, Any]:
        """What the sidecar of the table keeps."""
        level = {} if self.class_level is None else {CLASS_LEVEL: self.class_level}
        return level | ({} if self.unknown_label is None else {UNKNOWN_LABEL: self.unknown_label})

    @property
    def words(self) -> list[str]:
        """The options of `eml scan` that say the same."""
        level = [] if self.class_level is None else ["--class-level", str(self.class_level)]
        return level + ([] if self.unknown_label is None else ["--unknown-label", self.unknown_label])

    def of(self, table: Table) -> "ScanSettings":
        """Return the settings with what is known of the scanned table's unknown label."""
        return replace(self, unknown_label="" if table.denies_unknown_label else table.unknown_label)

    def completed(self, table: Path, root: Path, report: Report) -> "ScanSettings":
        """Return the settings with those of the folder's last scan into `table` where nothing is said now."""
        recorded = recorded_root(table)
        if recorded is None or real_path(recorded) != real_path(root):
            return self
        before = ScanSettings.of_notes(recorded_notes(table))
        kept = ScanSettings(
            self.class_level if self.class_level is not None else before.class_level,
            self.unknown_label if self.unknown_label is not None else before.unknown_label,
        )
        if kept != self:
            values = {f"`{name}={value}`" for name, value in kept.notes.items() if self.notes.get(name) != value}
            report(f"as in the last scan: {' '.join(sorted(values))}")
        return kept

    def label(self, table: Table, *, required: bool) -> Table:
        """Return the scanned table with its unknown label; required: raise DataError where no image has it."""
        if required or self.unknown_label == "":
            return with_unknown_label(table, self.unknown_label)
        return with_a_class(with_label_if_present(table, self.unknown_label))


def refuse_other_level(table: Path, level: ClassLevel | None) -> None:
    """Raise a DataError where the scan that a table came from took other folders for classes than are asked for."""
    if level is None:
        return
    scanned = next((path for path in (table, *(source for _, source, _ in sources(table))) if _is_scan(path)), table)
    before = ScanSettings.of_notes(recorded_notes(scanned))
    if before.level != level:
        text = f"{table}: was made of a scan with `class_level={before.level}`, not {level}"
        words = ["eml", "scan", str(recorded_root(scanned) or scanned.parent), "--class-level", str(level)]
        words += [OVERWRITE] if edited_by_hand(scanned) else []
        replacing = ", and replace the table that was edited by hand" if edited_by_hand(scanned) else ""
        advice = f"Scan the folder again{replacing}: {shlex.join(words)}"
        raise DataError(f"{text}. {advice}", code="conflicting-settings", parameter="class_level")


def _is_scan(table: Path) -> bool:
    return table.stem == "dataset_info"
