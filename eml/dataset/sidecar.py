"""The sidecar `NAME.eml.json` of a table: which command wrote it, from what, and where its images are."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from eml.errors import DataError
from eml.files import digest, write_json


@dataclass(frozen=True)
class Sidecar:
    """What is known of a table that eml wrote.

    root: the images' folder, relative to the table's folder where one lies in the other, else absolute.
    inputs: path (likewise) and digest of every file that was read for it. digest: of the table itself.
    replaces: digest of eml's own table that was at this place before; so a kill between the sidecar and the table
    leaves a table that is still known as eml's.
    """

    command: str
    eml_version: str
    created: str
    root: str
    inputs: list[dict[str, str]]
    digest: str
    replaces: str | None = None
    notes: dict[str, Any] = field(default_factory=dict)


def sidecar_path(table: Path) -> Path:
    """`dataset_info.csv` → `dataset_info.csv.eml.json`."""
    return table.with_name(f"{table.name}.eml.json")


def read_sidecar(table: Path) -> Sidecar | None:
    """The sidecar beside `table`; None where there is none. Raises DataError where it cannot be understood."""
    path = sidecar_path(table)
    try:
        return Sidecar(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, TypeError, ValueError) as error:
        raise DataError(f"{path}: no sidecar that this eml understands ({error}). Delete it, or give --root") from error


def write_sidecar(
    table: Path, written: Path, *, command: str, root: Path, inputs: Iterable[Path], notes: Mapping[str, Any] | None
) -> None:
    """Describes `written`, the bytes that are about to be moved to `table`."""
    folder = table.parent
    before = digest(table) if written_by_eml(table) else None
    sidecar = Sidecar(
        command=command,
        eml_version=version("easy-metric-learning"),
        created=datetime.now(UTC).isoformat(),
        root=from_folder(root, folder),
        inputs=[{"path": from_folder(path, folder), "digest": digest(path)} for path in inputs],
        digest=digest(written),
        replaces=before,
        notes=dict(notes or {}),
    )
    write_json(sidecar_path(table), sidecar.__dict__)


def written_by_eml(table: Path) -> bool:
    """Whether the file is there with exactly the bytes that eml wrote."""
    if not table.is_file() or (sidecar := read_sidecar(table)) is None:
        return False
    return digest(table) in (sidecar.digest, sidecar.replaces)


def written_after(table: Path, other: Path) -> bool:
    """Whether eml wrote `table` later than `other`; by the sidecars, since a copy changes the files' own times."""
    this, that = read_sidecar(table), read_sidecar(other)
    return this is not None and that is not None and this.created > that.created


def recorded_root(table: Path) -> Path | None:
    """The images' folder as the sidecar has it; None without a sidecar."""
    sidecar = read_sidecar(table)
    return None if sidecar is None else _resolved(sidecar.root, table.parent)


def sources(table: Path) -> Iterator[tuple[Path, Path, bool]]:
    """(table, input, changed) for every recorded input of the table, of its inputs, and so on back to the scan.

    changed: the input is there with other bytes than were read. One that is gone counts as unchanged: nothing newer
    could be used in its place.
    """
    seen, waiting = {table.resolve()}, [table]
    while waiting:
        made = waiting.pop(0)
        sidecar = read_sidecar(made)
        for recorded in sidecar.inputs if sidecar else []:
            path = _resolved(recorded["path"], made.parent)
            yield made, path, path.is_file() and digest(path) != recorded["digest"]
            if path.resolve() not in seen:
                seen.add(path.resolve())
                waiting.append(path)


def from_folder(path: Path, folder: Path) -> str:
    """Relative where one lies within the other, since they are then moved together."""
    path, folder = path.resolve(), folder.resolve()
    if path.is_relative_to(folder) or folder.is_relative_to(path):
        return Path(os.path.relpath(path, folder)).as_posix()
    return path.as_posix()


def _resolved(recorded: str, folder: Path) -> Path:
    return Path(os.path.normpath(folder / recorded))
