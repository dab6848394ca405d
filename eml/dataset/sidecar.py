"""The sidecar `NAME.eml.json` of a table: which command wrote it, from what, and where its images are."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from eml.config.text import shown
from eml.errors import DataError
from eml.files import NO_PATH, digest, is_path, write_json
from eml.json_files import read_json


@dataclass(frozen=True)
class Sidecar:
    """The facts recorded about a table that eml wrote."""

    command: str
    eml_version: str
    created: str
    root: str
    """The images' folder; relative to the table's folder where one lies within the other, else absolute."""
    inputs: list[dict[str, str]]
    """Path (relative or absolute, likewise) and digest of every file that was read for the table."""
    digest: str
    """Of the table itself."""
    replaces: str | None = None
    """Digest of eml's own table that this one replaced; a kill between the writing of the sidecar and of the table
    then leaves a table that is still known as eml's."""
    notes: dict[str, Any] = field(default_factory=dict)


def sidecar_path(table: Path) -> Path:
    """Return `dataset_info.csv.eml.json` for `dataset_info.csv`."""
    return table.with_name(f"{table.name}.eml.json")


def read_sidecar(table: Path) -> Sidecar | None:
    """Return the sidecar beside `table`, None where there is none.

    Raises:
        DataError: The sidecar cannot be understood.
    """
    path = sidecar_path(table)
    try:
        sidecar: Sidecar = read_json(path, Sidecar)
        _check_paths(sidecar)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        text = f"{path}: cannot be read as a sidecar of this version of eml ({error}). Delete it, or give `root`"
        raise DataError(text, code="damaged-file", parameter="root") from error
    return sidecar


def _check_paths(sidecar: Sidecar) -> None:
    """Raise ValueError for an input without its path and digest, and for a path that no file can have."""
    for number, recorded in enumerate(sidecar.inputs):
        if not {"path", "digest"} <= recorded.keys():
            raise ValueError(f"inputs.{number} has no path and digest")
    for path in (sidecar.root, *(recorded["path"] for recorded in sidecar.inputs)):
        if not is_path(path):
            raise ValueError(f"{shown(path)} is {NO_PATH}")


def write_sidecar(
    table: Path, written: Path, *, command: str, root: Path, inputs: Iterable[Path], notes: Mapping[str, Any] | None
) -> None:
    """Write the sidecar of `table`, whose bytes lie in `written` and are moved there next."""
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
    """Return whether the file has exactly the bytes that eml wrote."""
    if not table.is_file() or (sidecar := read_sidecar(table)) is None:
        return False
    return digest(table) in (sidecar.digest, sidecar.replaces)


def written_after(table: Path, earlier: Path) -> bool:
    """Return whether eml wrote `table` after `earlier`, by their sidecars: copying changes the times of files."""
    first, second = read_sidecar(earlier), read_sidecar(table)
    return first is not None and second is not None and second.created > first.created


def recorded_root(table: Path) -> Path | None:
    """Return the images' folder that the sidecar records, None without a sidecar."""
    sidecar = read_sidecar(table)
    return None if sidecar is None else _resolved(sidecar.root, table.parent)


def sources(table: Path) -> Iterator[tuple[Path, Path, bool]]:
    """Yield (table, input, changed) for every recorded input of the table, of its inputs, and so on back to the scan.

    `changed` is True where the input exists with bytes other than those that were read. An input that no longer
    exists counts as unchanged: nothing newer could be used in its place.
    """
    seen, waiting = {table.resolve()}, [table]
    while waiting:
        output = waiting.pop(0)
        sidecar = read_sidecar(output)
        for recorded in sidecar.inputs if sidecar else []:
            path = _resolved(recorded["path"], output.parent)
            yield output, path, path.is_file() and digest(path) != recorded["digest"]
            if path.resolve() not in seen:
                seen.add(path.resolve())
                waiting.append(path)


def from_folder(path: Path, folder: Path) -> str:
    """Return `path` relative to `folder` where one lies within the other, since they are then moved together."""
    path, folder = path.resolve(), folder.resolve()
    if path.is_relative_to(folder) or folder.is_relative_to(path):
        return Path(os.path.relpath(path, folder)).as_posix()
    return path.as_posix()


def _resolved(recorded: str, folder: Path) -> Path:
    return Path(os.path.normpath(folder / recorded))
