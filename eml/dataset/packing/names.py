"""The keys of images in packed files: their own names where every reader takes them, else numbers."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from eml.images.name_search import SUFFIXES
from eml.images.packed.members import split_member

PackFormat = Literal["parquet", "tar"]
_DIGITS = 8


def packed_keys(root: Path, file_names: Sequence[str], format_: PackFormat) -> tuple[list[str], str | None]:
    """Return a key for each file, in the order of the names, and why they are numbers where they are.

    Rows of a packed data set keep the order of the folder's, on which splits and training depend: the keys are in the
    order of the names, and so are the packed files.

    Args:
        root: The folder of the files.
        file_names: Each once, sorted.
        format_: tar: webdataset joins members up to the first dot of their names, so no two may be equal up to there.
    """
    names = [_own_name(root, name) for name in file_names]
    if len(set(names)) < len(names):
        reason = "several have the same name within their packed files"
    elif names != sorted(names):
        reason = "their names within their packed files are in another order"
    elif format_ == "tar" and (unfit := next((name for name in names if not _fits_tar(name)), None)) is not None:
        reason = f"webdataset would take the name apart at its first dot: {unfit}"
    elif format_ == "tar" and len({_sample(name) for name in names}) < len(names):
        reason = "webdataset would join two that differ in their suffix alone"
    else:
        return names, None
    return [f"{number:0{_DIGITS}d}{_suffix(name)}" for number, name in enumerate(names)], reason


def _own_name(root: Path, name: str) -> str:
    """Return a name without the packed file that the image lies in, where it does."""
    member = split_member(f"{root}/{name}")
    return name if member is None else member.key


def _fits_tar(name: str) -> bool:
    last = name.rpartition("/")[2]
    stem, dot, suffix = last.partition(".")
    return bool(stem and dot) and "." not in suffix and f".{suffix.lower()}" in SUFFIXES


def _sample(name: str) -> str:
    return os.path.splitext(name)[0]  # noqa: PTH122 - a Path for each of a million is slow


def _suffix(name: str) -> str:
    suffix = PurePosixPath(name).suffix.lower()
    return suffix if suffix in SUFFIXES else ".img"
