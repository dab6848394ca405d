"""Which images go into which packed file, decided before the first byte is written, so that any run gives the same."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eml.dataset.packing.names import PackFormat, packed_keys
from eml.dataset.problems import at_lines, file_problems
from eml.dataset.table import Table
from eml.errors import DataError, Problem
from eml.images.decode import ImageError, read
from eml.images.locate import image_path
from eml.images.packed.members import member_state

IMAGE = "image"
"""The column of the images in Parquet."""
OWN_NAME = "original_file_name"
"""The column of the names that images had, where their keys are numbers."""
FOLDER = "data"
"""The folder of the packed files."""
VERSION = 1
"""Raise it when the same images would give other packed files."""


@dataclass(frozen=True)
class PackPlan:
    """The images of a table in the order in which they are packed.

    Attributes:
        table: The table.
        names: (N,) the files, sorted, each once.
        keys: (N,) the key of each.
        sizes: (N,) bytes of each.
        shards: The first and the last but one image of each packed file.
        columns: (N rows) what is packed beside the images: the table's columns, but for the names of files.
        classes: The labels, sorted.
        format_: Of the packed files.
        split: The name of the split, with which packed files begin.
        numbered: Why keys are numbers; None where they are the names.
        dropped: Columns that differ between the rows of one image, which stay in the table alone.
        digest: Of all that decides the packed files.
    """

    table: Table
    names: list[str]
    keys: list[str]
    sizes: list[int]
    shards: list[tuple[int, int]]
    columns: pd.DataFrame
    classes: list[str]
    format_: PackFormat
    split: str
    numbered: str | None
    dropped: list[str]
    digest: str

    @property
    def files(self) -> list[str]:
        """The packed files, relative to the folder that they are written to."""
        return [self.file(number) for number in range(len(self.shards))]

    def file(self, number: int) -> str:
        """Return the name of a packed file, relative to the folder that they are written to."""
        return f"{FOLDER}/{self.split}-{number:05d}-of-{len(self.shards):05d}.{self.format_}"

    def packed_names(self) -> dict[str, str]:
        """Return the name of each image in the packed data set by its name now."""
        shard_of = np.repeat(np.arange(len(self.shards)), [last - first for first, last in self.shards])
        files = self.files
        return {
            name: f"{files[shard]}/{key}"
            for name, key, shard in zip(self.names, self.keys, shard_of.tolist(), strict=True)
        }


def plan_pack(table: Table, format_: PackFormat, shard_bytes: int, split: str) -> PackPlan:
    """Decide what goes where.

    Args:
        table: Rows of images; several may be of one image.
        format_: Of the packed files.
        shard_bytes: Bytes of images in a packed file, which a single larger image exceeds.
        split: The name of the split.

    Raises:
        DataError: Images are not there, or the table has a column that packed files cannot have.
    """
    frame = table.frame
    if IMAGE in frame.columns and format_ == "parquet":
        text = f"{table.name}: has a column {IMAGE!r}, which packed images need. Rename it"
        raise DataError(text, code="reserved-column")
    if problems := file_problems(frame["file_name"], table.root, list(frame["label"])):
        raise DataError(at_lines(table.path, problems))
    names = sorted(set(frame["file_name"]))
    keys, numbered = packed_keys(table.root, names, format_)
    columns, dropped = _columns(frame, names)
    if numbered is not None:
        columns[OWN_NAME] = names
    sizes = _sizes(table, names)
    classes = sorted(set(columns["label"].dropna()) - {""}) if "label" in columns.columns else []
    shards = _cut(sizes, shard_bytes)
    digest = _digest(columns, [names, keys, sizes, shards, classes, format_, split], table)
    return PackPlan(table, names, keys, sizes, shards, columns, classes, format_, split, numbered, dropped, digest)


def _columns(frame: pd.DataFrame, names: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """Return the table's columns with a row for each file, and those left out since a file's rows differ in them."""
    dropped = list[str]()
    if frame["file_name"].duplicated().any():
        groups = frame.groupby("file_name", sort=False)
        differ = groups.nunique(dropna=False).gt(1).any()
        dropped = [str(name) for name in differ.index[differ]]
    first = frame.drop_duplicates("file_name").set_index("file_name").loc[list(names)]
    return first.drop(columns=dropped).reset_index(drop=True), dropped


def _sizes(table: Table, names: Sequence[str]) -> list[int]:
    """Return the bytes of each file. Raises DataError for files that cannot be read."""
    sizes, problems = list[int](), list[Problem]()
    for name in names:
        try:
            sizes.append(_size(image_path(table.root, name)))
        except ImageError as error:
            problems.append(Problem(f"{table.root / name}: {error.detail} ({error.reason})", error.code))
        except OSError as error:
            problems.append(Problem(f"{table.root / name}: {error.strerror or error}", "unreadable-image"))
    if problems:
        raise DataError(problems[:20])
    return sizes


def _size(path: Path) -> int:
    member = member_state(path)
    if member is None:
        return path.stat().st_size
    return len(read(path)) if member.size is None else member.size


def _cut(sizes: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Return the ranges of images whose sizes add up to `most` at most, a single larger one alone."""
    shards, first, total = list[tuple[int, int]](), 0, 0
    for number, size in enumerate(sizes):
        if number > first and total + size > most:
            shards.append((first, number))
            first, total = number, 0
        total += size
    return [*shards, (first, len(sizes))]


def _digest(columns: pd.DataFrame, facts: list[Any], table: Table) -> str:
    hashed = hashlib.blake2b(json.dumps([VERSION, str(table.digest), facts]).encode(), digest_size=16)
    hashed.update(columns.to_json(orient="split", double_precision=15).encode())
    return hashed.hexdigest()
