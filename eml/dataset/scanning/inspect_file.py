"""One file → one row. This runs in the worker processes, so it imports no pandas."""

import time
from pathlib import Path
from typing import NamedTuple

from eml.dataset.scanning.hashing import HashKind, content_hash, open_and_hash
from eml.images.decode import ImageError, read

UNSETTLED = -1
_TICK = 2_000_000_000  # ns; the coarsest clock of a file system, FAT's


class Problem(NamedTuple):
    """A row of dataset_errors.csv."""

    file_name: str
    """POSIX, relative to the root; bytes that are no UTF-8 as \\xNN."""
    reason: str
    """eml.images.decode.Reason, or not_in_a_class, outside_dataset, linked_folder, unusable_name."""
    detail: str


class Row(NamedTuple):
    """What one read of an image tells."""

    label: str
    file_name: str
    width: int
    height: int
    hash: str
    content: str
    bytes: int
    format: str
    mode: str


class Inspected(NamedTuple):
    """What one read of a file tells, and how to know later that the file is still the same."""

    mtime: int
    """Of the file before it was read (ns); UNSETTLED where its being the same later would prove nothing."""
    bytes: int
    found: Row | Problem


def inspect(root: Path, file_name: str, hash_kind: HashKind | None) -> Row | Problem:
    """Reads the file once and decodes it to its end; width and height are as shown, after EXIF orientation."""
    path = root / file_name
    try:
        data = read(path)
        image, hash_ = open_and_hash(data, path, hash_kind)
    except ImageError as error:
        return Problem(file_name, error.reason, error.detail)
    return Row(
        label=file_name.partition("/")[0],
        file_name=file_name,
        width=image.width,
        height=image.height,
        hash=hash_,
        content=content_hash(data),
        bytes=len(data),
        format=image.format,
        mode=image.mode,
    )


def inspect_with_time(root: Path, file_name: str, hash_kind: HashKind | None) -> Inspected:
    """`inspect`, with the time and size that tell a later scan that it need not read the file again.

    There is no such time for a file that was written within two seconds of being read (it may be written once more
    within one tick of the clock), that grew meanwhile, or that could not be read, which may be mended without
    touching it (chmod, a disk that is mounted).
    """
    try:
        state = (root / file_name).stat()
    except OSError:
        return Inspected(UNSETTLED, 0, inspect(root, file_name, hash_kind))
    settled = abs(time.time_ns() - state.st_mtime_ns) > _TICK
    found = inspect(root, file_name, hash_kind)
    if isinstance(found, Row):
        settled = settled and found.bytes == state.st_size
    else:
        settled = settled and found.reason not in ("missing", "unreadable")
    return Inspected(state.st_mtime_ns if settled else UNSETTLED, state.st_size, found)
