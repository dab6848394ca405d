"""The sidecar `NAME.eml.json` of a table: which command wrote it, from what, and where its images are."""

import contextlib
import errno
import os
import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from eml.config.text import shown
from eml.dataset.image_root import is_own_root, present_root, root_line
from eml.errors import DataError
from eml.files import NO_PATH, digest, digest_of, is_path, moved_along, real_path, write_json
from eml.json_files import is_json_with, read_json
from eml.storage import as_place, forget_files, is_remote, is_url, place_below
from eml.versions import eml_version

SIDECAR_ENDING = ".eml.json"
EARLIER_WRITES = 50
"""The number of earlier tables of one name that a sidecar remembers."""

UNKNOWN_LABEL = "unknown_label"
"""The note, and the key of other files, that names the label of images of unknown identity."""


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
    overwrites: str | None = None
    """Digest of a file of the user's that this table replaced."""
    folder: str | None = None
    """The folder of the table when it was written: root and inputs that were moved with it are found by it."""
    write: str | None = None
    """The tables that one command wrote together have the same one; None where an earlier eml wrote the table."""
    siblings: dict[str, str] = field(default_factory=dict)
    """Name and digest of the other tables that the command wrote in the same folder."""
    earlier: list[str] = field(default_factory=list)
    """Digests of the tables that eml wrote here before, oldest first: a copy of one that is put back is known as old,
    and not taken for an edit of the user's."""

    @property
    def written_before(self) -> set[str]:
        """The digests of all that eml wrote here before this table, as far as they are known."""
        return {*self.earlier, *([] if self.replaces is None else [self.replaces])} - {self.digest}


def sidecar_path(table: Path) -> Path:
    """Return `dataset_info.csv.eml.json` for `dataset_info.csv`."""
    return table.with_name(f"{table.name}{SIDECAR_ENDING}")


def read_sidecar(table: Path) -> Sidecar | None:
    """Return the sidecar beside `table`, None where there is none.

    Raises:
        DataError: The sidecar cannot be understood.
    """
    path = sidecar_path(table)
    try:
        sidecar: Sidecar = read_json(path, Sidecar)
        _check_paths(sidecar)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            return None  # a table of a name so long has none
        text = f"{path}: cannot be read as a sidecar of this version of eml ({error}). Delete it, or give `root`"
        raise DataError(text, code="damaged-file", parameter="root") from error
    return sidecar


def _check_paths(sidecar: Sidecar) -> None:
    """Raise ValueError for an input without its path and digest, and for a path that no file can have."""
    for number, recorded in enumerate(sidecar.inputs):
        if not {"path", "digest"} <= recorded.keys():
            raise ValueError(f"inputs.{number} has no path and digest")
    folder = [sidecar.folder] if sidecar.folder is not None else []
    for path in (sidecar.root, *folder, *(recorded["path"] for recorded in sidecar.inputs), *sidecar.siblings):
        if is_url(path):
            as_place(path)
        elif not is_path(path):
            raise ValueError(f"{shown(path)} is {NO_PATH}")
    for name in sidecar.siblings:
        if name in ("", ".", "..") or Path(name).name != name:
            raise ValueError(f"siblings: {shown(name)} is no name of a file")


def is_sidecar(path: Path) -> bool:
    """Return whether the file is a sidecar as eml writes it, of any version, and not a file of the user's."""
    return is_json_with(path, {"command", "eml_version", "created", "root", "inputs", "digest"})


def write_sidecar(
    table: Path, written: Path, *, command: str, root: Path, inputs: Collection[Path], notes: Mapping[str, Any] | None
) -> None:
    """Write the sidecar of `table`, whose bytes lie in `written` and are moved there next."""
    sidecars = describe({table: written}, command=command, root=root, inputs=inputs, notes=notes)
    write_json(sidecar_path(table), sidecars[table].__dict__)


def describe(
    written: Mapping[Path, Path],
    *,
    command: str,
    root: Path,
    inputs: Collection[Path] = (),
    notes: Mapping[str, Any] | None = None,
) -> dict[Path, Sidecar]:
    """Return the sidecar of each table of one command.

    Args:
        written: Table → the file that holds its bytes and is moved there next.
        command: The command line that wrote the tables.
        root: The folder of their images.
        inputs: The files that were read for them; a mapping also holds the digest that each had when it was read.
        notes: What later commands should know of the tables.
    """
    digests = {table: digest(file) for table, file in written.items()}
    read = inputs if isinstance(inputs, Mapping) else {}
    recorded = [(path, read.get(path) or digest(path)) for path in inputs]
    created, identifier = datetime.now(UTC).isoformat(), uuid.uuid4().hex
    sidecars = {}
    for table in written:
        folder, is_ours = table.parent, written_by_eml(table)
        before = digest(table) if table.is_file() else None
        sidecars[table] = Sidecar(
            command=command,
            eml_version=eml_version(),
            created=created,
            root=from_folder(root, folder),
            inputs=[{"path": from_folder(path, folder), "digest": value} for path, value in recorded],
            digest=digests[table],
            replaces=before if is_ours else None,
            notes=dict(notes or {}),
            overwrites=None if is_ours else before,
            folder=real_path(folder).as_posix(),
            write=identifier,
            siblings={path.name: value for path, value in digests.items() if path != table and path.parent == folder},
            earlier=_earlier_writes(table, digests[table]),
        )
    return sidecars


def changed_since_read(inputs: Collection[Path]) -> list[str]:
    """Return a line for each input that no longer has the digest with which it was read, where that is known."""
    read = inputs if isinstance(inputs, Mapping) else {}
    if any(map(is_remote, read)):
        forget_files()
    return [
        f"{path}: was changed while the command ran, and the result is of what it held before. Run the command again"
        for path, value in read.items()
        if digest_of(path) != value
    ]


def _earlier_writes(table: Path, now: str) -> list[str]:
    """Return the digests of what eml wrote to the path of `table` before, but for `now`: the last ones, each once."""
    path = sidecar_path(table)
    sidecar = read_sidecar(table) if is_sidecar(path) else None
    if sidecar is None:
        return []
    known = [*sidecar.earlier, *([] if sidecar.replaces is None else [sidecar.replaces]), sidecar.digest]
    latest_first = dict.fromkeys(value for value in reversed(known) if value != now)
    return [*latest_first][:EARLIER_WRITES][::-1]


def written_by_eml(table: Path) -> bool:
    """Return whether the file has exactly the bytes that eml wrote, now or earlier."""
    if not table.is_file() or not is_sidecar(sidecar_path(table)) or (sidecar := read_sidecar(table)) is None:
        return False
    return digest(table) in {sidecar.digest} | sidecar.written_before


def edited_by_hand(table: Path) -> bool:
    """Return whether eml wrote the table and its user has changed it since."""
    return table.is_file() and is_sidecar(sidecar_path(table)) and not written_by_eml(table)


def remove_outdated(page: Path) -> list[Path]:
    """Remove a page that eml wrote, with its sidecar, if a table that it was made from has changed; return it then."""
    if not written_by_eml(page) or not any(changed for _, _, changed in sources(page)):
        return []
    page.unlink()
    sidecar_path(page).unlink(missing_ok=True)
    return [page]


def written_after(table: Path, earlier: Path) -> bool:
    """Return whether eml wrote `table` after `earlier`, by their sidecars: copying changes the times of files."""
    first, second = read_sidecar(earlier), read_sidecar(table)
    return first is not None and second is not None and second.created > first.created


def first_written(table: Path) -> int | None:
    """Return when eml wrote the first of the tables that this one came from, in nanoseconds; None without a sidecar."""
    paths = {table: None} | {source: None for _, source, _ in sources(table)}
    times = []
    for path in paths:
        if (sidecar := read_sidecar(path)) is not None:
            with contextlib.suppress(ValueError):
                times.append(round(datetime.fromisoformat(sidecar.created).timestamp() * 1e9))
    return min(times, default=None)


def recorded_root(table: Path) -> Path | None:
    """Return the images' folder that the sidecar records, None without a sidecar."""
    sidecar = read_sidecar(table)
    return None if sidecar is None else present_root(sidecar.root, sidecar.folder, table.parent)


def usable_root(table: Path) -> tuple[Path | None, str | None]:
    """Return the recorded root, None without a sidecar, and a line that tells it where it is not to be expected.

    Raises:
        DataError: The root is there, and the sidecar may have come with the table from somebody else.
    """
    if (sidecar := read_sidecar(table)) is None:
        return None, None
    root = present_root(sidecar.root, sidecar.folder, table.parent)
    # A remote root is not even looked for, since that is a request to a host that the sidecar chooses.
    is_own = is_own_root(root, sidecar.root, sidecar.folder, table.parent)
    if not is_own and is_remote(root):
        text = f"{sidecar_path(table)}: says that the images are at {root}, and was not written here: it may have come "
        text += "with the table, which could then have any address read with your credentials. If they are there, name "
        text += f"the table and give `root={root}`"
        raise DataError(text, code="root-not-trusted", parameter="root")
    if not is_own and root.exists():
        text = f"{sidecar_path(table)}: says that the images are in {root}, outside of the table's folder, and was not "
        text += "written here: it may have come with the table, which could then put any images of this computer into "
        text += f"a report. If they are there, name the table and give `root={root}`"
        raise DataError(text, code="root-not-trusted", parameter="root")
    return root, root_line(root, sidecar.folder, table.parent)


def recorded_unknown_label(table: Path) -> str | None:
    """Return the unknown label that the sidecar records, None without one."""
    return unknown_label_in(recorded_notes(table))


def recorded_notes(table: Path) -> dict[str, Any]:
    """Return the notes of the sidecar, none without one."""
    sidecar = read_sidecar(table)
    return {} if sidecar is None else sidecar.notes


def unknown_label_in(facts: object) -> str | None:
    """Return the unknown label among facts that were read from a file; None where there is none, or no text."""
    label = facts.get(UNKNOWN_LABEL) if isinstance(facts, Mapping) else None
    return label if isinstance(label, str) and label else None


def denies_unknown_label(facts: object) -> bool:
    """Return whether facts that were read from a file say that no label is the unknown one, which "" says."""
    return isinstance(facts, Mapping) and facts.get(UNKNOWN_LABEL) == ""


def sources(table: Path) -> Iterator[tuple[Path, Path, bool]]:
    """Yield (table, input, changed) for every recorded input of the table, of its inputs, and so on back to the scan.

    `changed` is True where the input exists with bytes other than those that were read. An input that no longer
    exists counts as unchanged: nothing newer could be used in its place.
    """
    seen, waiting = {real_path(table)}, [table]
    while waiting:
        output = waiting.pop(0)
        sidecar = read_sidecar(output)
        if sidecar is None:
            continue
        for recorded in sidecar.inputs:
            path = _resolved(recorded["path"], output, sidecar)
            if is_remote(path) and not is_own_root(path, recorded["path"], sidecar.folder, output.parent):
                continue  # an address from elsewhere is not asked
            yield output, path, path.is_file() and digest(path) != recorded["digest"]
            if real_path(path) not in seen:
                seen.add(real_path(path))
                waiting.append(path)


def from_folder(path: Path, folder: Path) -> str:
    """Return `path` relative to `folder` where one lies within the other, since they are then moved together."""
    path, folder = real_path(path), real_path(folder)
    if is_remote(path) or is_remote(folder):
        return path.as_posix()
    if path.is_relative_to(folder) or folder.is_relative_to(path):
        return Path(os.path.relpath(path, folder)).as_posix()
    return path.as_posix()


def _resolved(recorded: str, table: Path, sidecar: Sidecar) -> Path:
    """Return a recorded path; an absolute one that is gone may have been moved together with the table."""
    path, folder = place_below(table.parent, recorded), table.parent
    if (
        is_remote(path)
        or is_remote(folder)
        or path.exists()
        or sidecar.folder is None
        or not Path(recorded).is_absolute()
    ):
        return path
    along = moved_along(path, Path(sidecar.folder), real_path(folder))
    return along if along.exists() else path
