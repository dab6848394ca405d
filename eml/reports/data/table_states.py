"""The tables that scan, filter, split and kfold left in a folder, and whether they are up to date."""

from dataclasses import dataclass
from pathlib import Path

from eml.dataset.sidecar import read_sidecar, sources, written_after, written_by_eml
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
    """current; stale: its source has changed since; edited: changed since eml wrote it; foreign: without a sidecar."""


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
        states[path] = TableState(
            table=path.name,
            step=command,
            command=sidecar.command if sidecar else None,
            created=sidecar.created if sidecar else None,
            images=None if labels is None else len(labels),
            classes=None if labels is None else int(labels.nunique()),
            state=_state(path, [earlier for earlier, state in states.items() if state.step != command]),
        )
    return list(states.values())


def _state(path: Path, earlier: list[Path]) -> str:
    if read_sidecar(path) is None:
        return "foreign"
    if not written_by_eml(path):
        return "edited"
    used = {source.resolve() for _, source, _ in sources(path)}
    skipped_newer = any(table.resolve() not in used and written_after(table, path) for table in earlier)
    return "stale" if skipped_newer or any(changed for _, _, changed in sources(path)) else "current"
