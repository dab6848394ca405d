"""The tables that scan, filter, split and kfold left in a folder, and whether they are up to date."""

from dataclasses import dataclass
from pathlib import Path

from eml.dataset.ancestry import staleness
from eml.dataset.sidecar import read_sidecar, recorded_unknown_label, written_by_eml
from eml.dataset.table import SUFFIXES, read_columns
from eml.errors import DataError

TABLES = {
    "dataset_info": "scan",
    "dataset_info_filtered": "filter",
    "dataset_train": "split",
    "dataset_test": "split",
    "folds": "kfold",
}
"""The stem of each table, in the order in which they are made, and the command that writes it."""


@dataclass(frozen=True)
class TableState:
    """A table of a folder: what wrote it, what it holds, and whether it is up to date."""

    table: str
    """The name of the file."""
    step: str
    """The command that writes a table of this name."""
    command: str | None
    """The command line that wrote it; None without a sidecar."""
    created: str | None
    images: int | None
    """None if the file cannot be read."""
    classes: int | None
    state: str
    """current; stale: out of date; edited: changed since eml wrote it; foreign: without a sidecar."""


def read_table_states(folder: Path) -> list[TableState]:
    """Return the state of each table in a folder, in the order in which they are made."""
    states: dict[Path, TableState] = {}
    for stem, command in TABLES.items():
        files = [path for suffix in SUFFIXES if (path := folder / f"{stem}{suffix}").is_file()]
        if not files:
            continue
        path = max(files, key=lambda path: path.stat().st_mtime)
        sidecar = read_sidecar(path)
        try:
            labels = read_columns(path, ["label"])["label"]
        except DataError:  # the user's own file of that name; a command that reads it says so
            labels = None
        unknown = recorded_unknown_label(path)
        states[path] = TableState(
            table=path.name,
            step=command,
            command=sidecar.command if sidecar else None,
            created=sidecar.created if sidecar else None,
            images=None if labels is None else len(labels),
            classes=None if labels is None else int(labels[labels != unknown].nunique()),
            state=_state(path),
        )
    return list(states.values())


def _state(path: Path) -> str:
    if read_sidecar(path) is None:
        return "foreign"
    if staleness(path) is not None:
        return "stale"
    return "current" if written_by_eml(path) else "edited"
