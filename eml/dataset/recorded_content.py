"""The column `content` of a table, checked against the files: what changed since it was written is read again."""

import math
import os
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.problems import short_repr
from eml.dataset.sidecar import first_written
from eml.dataset.table import Table, read_columns, read_file_names
from eml.errors import DataError
from eml.files import bytes_digest, digest
from eml.images.packed.members import member_digest, member_state
from eml.images.packed.remote_states import image_info, image_states
from eml.progress import Report
from eml.storage import RemotePath, is_url
from eml.storage.file_systems import IN_FLIGHT
from eml.storage.object_cache import cached_bytes
from eml.storage.objects import ObjectInfo
from eml.threads import in_order

CONTENT = "content"
_HASH = r"[0-9a-f]{32}"  # blake2b-128, as scan writes it, or another hash as long: a few files tell
_PROBES = 8  # files, spread over the table, that are read to tell

Progress = Callable[[int], None]


def has_content(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Return (N,) whether a row has a content hash, so that its file need not be read for its key."""
    if CONTENT not in frame.columns:
        return np.zeros(len(frame), bool)
    return frame[CONTENT].astype(str).str.fullmatch(_HASH).to_numpy(bool)


def current_content(
    table: Table, frame: pd.DataFrame, report: Report = lambda line: None, progress: Progress | None = None
) -> NDArray[np.object_]:
    """Return (N,) the hash of the bytes of each row's file as it is now, by the column `content`; empty without one.

    A file is read where its size is not the recorded one, or where it was written after the table, as every file of a
    copied data set may be. All are read where one of a few probes has another hash: then the column is not of eml. A
    file that is not there keeps what the column says.

    Args:
        table: The table, which knows the folder of the images.
        frame: Its rows.
        report: Receives a line when the column does not fit the files.
        progress: Called with the number of files read since the last call.
    """
    content, recorded = np.full(len(frame), "", object), has_content(frame)
    if not recorded.any():
        return content
    own = frame[recorded]
    places, names = pd.factorize(own["file_name"].to_numpy(object))
    first = np.unique(places, return_index=True)[1]  # row of each file
    hashes = own[CONTENT].astype(str).to_numpy(object)
    paths = [f"{table.root}/{name}" for name in names]
    there, doubtful = _states(table.root, list(names), _sizes(own, first), _written(table))
    wrong = _wrong_probe(paths, hashes[first], np.flatnonzero(there & ~doubtful))
    files = np.flatnonzero(there if wrong is not None else doubtful)
    now = np.full(len(names), "", object)
    now[files] = _read([paths[file] for file in files], progress)
    changed = names[np.flatnonzero((now != "") & (now != hashes[first]))].tolist()
    if wrong is not None:
        report(_not_of_eml(table, str(names[wrong])))
    elif changed:
        report(_older(table, changed))
    content[recorded] = np.where(now[places] != "", now[places], hashes)
    return content


def _not_of_eml(table: Table, name: str) -> str:
    return (
        f"warning: {table.name}: its column {CONTENT!r} is not the hash of the files as eml takes it (the first that "
        f"differs: {short_repr(name)}). It is ignored, and the files are read"
    )


def _older(table: Table, names: list[str]) -> str:
    return (
        f"warning: {table.name}: is older than {len(names):,} of its images (the first: {short_repr(names[0])}), which "
        "were read again. Run eml scan again, and what came after it"
    )


def recorded_sizes(info: Path) -> dict[str, float]:
    """Return the name and the recorded size in bytes of each image of a scan's table, NaN where none is recorded."""
    try:
        frame = read_columns(info, ["file_name", "bytes"])
    except DataError:  # a table from before sizes were recorded, or without the column
        return dict.fromkeys(read_file_names(info), math.nan)
    sizes = pd.to_numeric(frame["bytes"], errors="coerce").astype(float)
    return dict(zip(frame["file_name"], sizes.tolist(), strict=True))


def sizes_differ(root: Path, names: Iterable[str], sizes: Iterable[float]) -> list[str]:
    """Return the names of the files, of those that are there, whose size is not the recorded one."""
    listed = list(names)
    there, differ = _states(root, listed, np.array(list(sizes), np.float64), None)
    return [name for name, is_changed in zip(listed, (there & differ).tolist(), strict=True) if is_changed]


def _sizes(frame: pd.DataFrame, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the recorded sizes in bytes of some rows, NaN where none is recorded."""
    if "bytes" not in frame.columns:
        return np.full(len(rows), np.nan)
    return pd.to_numeric(frame["bytes"].iloc[rows], errors="coerce").to_numpy(np.float64, na_value=np.nan)


def _written(table: Table) -> int | None:
    """Return when the hashes were written at the earliest, in nanoseconds, None for a table of the user's own."""
    times = [first_written(path) for path in table.parts or ((table.path,) if table.path else ())]
    return min((time for time in times if time is not None), default=None)


def _states(
    root: Path, names: Sequence[str], sizes: NDArray[np.float64], written: int | None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return (N,) whether a file is there, and (N,) whether it has another size or was written later."""
    there, doubtful = np.zeros(len(names), bool), np.zeros(len(names), bool)
    objects = image_states(root, names, again=False) if isinstance(root, RemotePath) else None
    for number, (name, size) in enumerate(zip(names, sizes.tolist(), strict=True)):
        state = _state(f"{root}/{name}") if objects is None else _state_of(objects.get(name))
        if state is None:
            continue
        bytes_now, time = state
        there[number] = True
        is_other_size = size == size and bytes_now not in (size, None)  # NaN: none is recorded
        doubtful[number] = is_other_size or (written is not None and time > written)
    return there, doubtful


def _state(path: str) -> tuple[int | None, int] | None:
    """Return a file's bytes, None where they are not known, and the time of its last change; None for no file."""
    try:
        state = os.stat(path)  # noqa: PTH116 - a Path for each of a million is slow
        return state.st_size, state.st_mtime_ns
    except NotADirectoryError:
        pass
    except (OSError, ValueError):
        return None
    try:
        return member_state(path)
    except OSError:
        return None


def _state_of(info: ObjectInfo | None) -> tuple[int | None, int] | None:
    """Return an object's bytes, None where they are not known, and the time of its last change; None for no object."""
    return None if info is None else (info.bytes if info.bytes >= 0 else None, info.modified)


def _wrong_probe(paths: list[str], hashes: NDArray[np.object_], files: NDArray[np.intp]) -> int | None:
    """Return the first of a few of the files, spread evenly, whose hash is another than the recorded one."""
    spread = np.unique(np.linspace(0, len(files) - 1, min(_PROBES, len(files))).astype(int)) if len(files) else files
    chosen = files[spread].tolist()
    values = _read([paths[file] for file in chosen])
    return next((file for file, value in zip(chosen, values, strict=True) if value not in ("", hashes[file])), None)


def _read(paths: list[str], progress: Progress | None = None) -> list[str]:
    """Return the hashes of files, an empty one for a file that cannot be read."""
    hashes = []
    workers = IN_FLIGHT if paths and is_url(paths[0]) else None
    for value in in_order(_hash, paths, workers):
        hashes.append(value)
        if progress:
            progress(1)
    return hashes


def _hash(path: str) -> str:
    try:
        if is_url(path):
            remote = RemotePath(path)
            info = image_info(remote)
            return _hash_of_version(remote, info) if info.token else _hash_of_object(remote, info)
        return "" if (state := _state(path)) is None else _hash_of(path, *state)
    except (OSError, ValueError):
        return ""


@lru_cache(2**16)
def _hash_of(path: str, size: int | None, time: int) -> str:
    """Return the hash of a file, read once while its size and time stay: several parts of a command ask for it."""
    return member_digest(path) or digest(Path(path))


@lru_cache(2**16)
def _hash_of_version(path: RemotePath, info: ObjectInfo) -> str:
    """Return the hash of an object or of an image inside one, as `_hash_of`."""
    return _hash_of_object(path, info)


def _hash_of_object(path: RemotePath, info: ObjectInfo) -> str:
    return member_digest(path) or bytes_digest(cached_bytes(path, info))
