"""Keys of images, 64 bits each, by which an image is recognised in another table whatever its name and label."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.columns import BOX, boxed
from eml.dataset.recorded_content import current_content
from eml.dataset.table import Table
from eml.errors import DataError
from eml.files import digest
from eml.images.packed.members import member_digest
from eml.progress import Report
from eml.storage.file_systems import threads_at
from eml.threads import in_order

Keys = NDArray[np.uint64]

_DIGITS = 16  # of the hash: 64 bits


def image_keys(
    table: Table,
    frame: pd.DataFrame,
    progress: Callable[[int], None] | None = None,
    report: Report = lambda line: None,
) -> Keys:
    """Return (N,) keys of rows: the first 64 bits of the hash of the file's bytes, for a box mixed with its corners.

    The hash is that of the column `content`, where it fits the files (`eml.dataset.recorded_content`). Where it is
    missing or empty, each file is read once.

    Args:
        table: The table, which knows the folder of the images.
        frame: Its rows.
        progress: Called with the number of files read since the last call.
        report: Receives a line when the column `content` does not fit the files.

    Raises:
        DataError: A file that has to be read cannot be read.
    """
    return mix_boxes(file_keys(table, frame, progress, report), frame)


def file_keys(
    table: Table,
    frame: pd.DataFrame,
    progress: Callable[[int], None] | None = None,
    report: Report = lambda line: None,
) -> Keys:
    """Return (N,) keys of the files of rows, equal for all boxes of a file; as `image_keys` else."""
    content = current_content(table, frame, report, progress)
    recorded = content != ""
    keys = np.zeros(len(frame), np.uint64)
    if recorded.any():
        keys[recorded] = _as_keys(content[recorded].tolist())
    if not recorded.all():
        places, names = pd.factorize(frame["file_name"].to_numpy(object)[~recorded])
        keys[~recorded] = _keys_of_files(table, [str(name) for name in names], progress)[places]
    return keys


def mix_boxes(keys: Keys, frame: pd.DataFrame) -> Keys:
    """Return the keys of files (N,) mixed with the corners of the rows that are boxes."""
    keys = keys.copy()
    boxes = boxed(frame).to_numpy(bool)
    if boxes.any():
        keys[boxes] = _mix(keys[boxes], frame.loc[boxes, list(BOX)].to_numpy(np.int64))
    return keys


def is_known(keys: Keys, known: Keys) -> NDArray[np.bool_]:
    """Return (N,) which of `keys` are among `known`, which is sorted."""
    if not len(known):
        return np.zeros(len(keys), bool)
    places = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.asarray(known[places] == keys)


def _keys_of_files(table: Table, names: list[str], progress: Callable[[int], None] | None) -> Keys:
    hashes = []
    try:
        for content in in_order(lambda name: _digest(table.root / name), names, threads_at(table.root)):
            hashes.append(content)
            if progress:
                progress(1)
    except OSError as error:
        problem = f"{table.name}: {names[len(hashes)]!r} cannot be read: {error.strerror or error}"
        raise DataError(problem, code="missing-image") from error
    return _as_keys(hashes)


def _digest(path: Path) -> str:
    return member_digest(path) or digest(path)


def _as_keys(hashes: list[str]) -> Keys:
    digits = "".join(content[:_DIGITS] for content in hashes)
    return np.frombuffer(bytes.fromhex(digits), ">u8").astype(np.uint64)


def _mix(keys: Keys, corners: NDArray[np.int64]) -> Keys:
    """Return keys that depend on the corners (N, 4) too: the finaliser of splitmix64 (Steele 2014) after each one."""
    for corner in corners.T:
        keys = keys ^ corner.astype(np.uint64)
        keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        keys = keys ^ (keys >> np.uint64(31))
    return keys
