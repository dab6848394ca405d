"""Which rows of a table show the same image: near hashes, confirmed by a second look at the images themselves."""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.duplicates.components import Indices
from eml.dataset.duplicates.duplicates import hash_values
from eml.dataset.duplicates.hamming import Hashes, near_pairs, ragged
from eml.dataset.duplicates.verify_pairs import confirmed
from eml.dataset.table import Table
from eml.errors import DataError
from eml.progress import Progress

MOST = 20_000_000  # candidate pairs that are held, 24 bytes each

Which = Literal["across", "within", "all"]
"""Pairs with different labels, with the same label, both."""


@dataclass(frozen=True)
class Files:
    """A table's rows, those of one hash, label and content taken as one file; sorted by these, (F,) each."""

    hashes: Hashes
    labels: Indices
    content: Indices
    """A number for each content; unknown content has one of its own."""
    row: Indices
    """The first of its rows."""
    copies: Indices
    """How many rows it stands for."""
    of_row: Indices
    """(N,) of each row: its place here."""


@dataclass(frozen=True)
class SameImages:
    """Pairs of files that show the same image, (P,) each: i, j, the distance of their hashes in bits."""

    files: Files
    i: Indices
    j: Indices
    distance: Indices
    found_across: int
    """Pairs of rows with different labels and near hashes, confirmed or not."""

    def across(self) -> tuple[Indices, Indices, Indices]:
        """Those with different labels."""
        return self._where(self.files.labels[self.i] != self.files.labels[self.j])

    def within(self) -> tuple[Indices, Indices, Indices]:
        """Those with the same label."""
        return self._where(self.files.labels[self.i] == self.files.labels[self.j])

    def confirmed_across(self) -> int:
        """Pairs of rows with different labels that show the same image."""
        i, j, _ = self.across()
        return int((self.files.copies[i] * self.files.copies[j]).sum())

    def _where(self, mask: NDArray[np.bool_]) -> tuple[Indices, Indices, Indices]:
        return self.i[mask], self.j[mask], self.distance[mask]


def same_images(
    table: Table, threshold: int, which: Which, progress: Progress | None = None, *, trust_hash: bool = False
) -> SameImages:
    """The pairs within `threshold` bits whose content is the same, or which a second look confirms.

    progress: (description, total) → context manager → function told how many are newly done. trust_hash: of candidates
    that cannot be read, instead of a DataError.
    Raises DataError also for a table without usable hashes, and for more candidates than can be held.
    """
    if table.frame["file_name"].duplicated().any():
        raise DataError(f"{table.name}: whole images are compared, and some are there with several boxes")
    files = _files(table)
    i, j, distance = _candidates(table, files, threshold, which, progress)
    across = files.labels[i] != files.labels[j]
    found = int((files.copies[i[across]] * files.copies[j[across]]).sum())
    same = files.content[i] == files.content[j]
    if not same.all():
        names = table.frame["file_name"].iloc[files.row].tolist()
        same[~same] = confirmed(table.root, names, i[~same], j[~same], progress, trust_hash=trust_hash)
    return SameImages(files, i[same], j[same], distance[same], found)


def _files(table: Table) -> Files:
    frame = table.frame
    hashes, labels = hash_values(table), pd.factorize(frame["label"])[0].astype(np.int64)
    content = np.arange(len(frame))
    if "content" in frame.columns:
        codes = pd.factorize(frame["content"])[0]
        content = np.where(frame["content"] == "", content + len(frame), codes)
    order = np.lexsort((content, labels, hashes))
    starts = _starts(hashes[order], labels[order], content[order])
    of_row = np.empty(len(frame), dtype=np.int64)
    of_row[order] = np.cumsum(starts) - 1
    row = order[starts]
    return Files(hashes[row], labels[row], content[row], row, np.bincount(of_row), of_row)


def _starts(*columns: NDArray[Any]) -> NDArray[np.bool_]:
    """Where sorted columns begin a new combination of values."""
    new = np.ones(len(columns[0]), dtype=bool)
    new[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return new


def _candidates(
    table: Table, files: Files, threshold: int, which: Which, progress: Progress | None
) -> tuple[Indices, Indices, Indices]:
    """(i, j, distance) of the pairs of files within `threshold` bits."""
    start = np.flatnonzero(_starts(files.hashes, files.labels))  # of the files of one hash and label
    size = np.diff(start, append=len(files.row))
    labels = files.labels[start]
    found = [(np.empty(0, dtype=np.int64),) * 3]
    count = 0

    def add(a: Indices, b: Indices, distance: Indices) -> None:
        """All files of a[n] with all of b[n]; each pair once where these are the same."""
        nonlocal count
        pairs = size[a] * size[b]
        count += int(pairs.sum())
        if count > MOST:
            told = f"more than {MOST:,} pairs of images are within {threshold} bits, too many to look at"
            raise DataError(f"{table.name}: {told}. Give a lower --threshold, or --scope class --hash-only")
        of, inside = ragged(pairs)
        i, j = np.divmod(inside, size[b][of])
        i, j = start[a][of] + i, start[b][of] + j
        once = (a != b)[of] | (i < j)
        found.append((i[once], j[once], distance[of][once].astype(np.int64)))

    with progress("comparing hashes", len(start)) if progress else nullcontext() as advance:
        for a, b, distance in near_pairs(files.hashes[start], threshold, advance):
            if which != "all":
                wanted = (labels[a] != labels[b]) == (which == "across")
                a, b, distance = a[wanted], b[wanted], distance[wanted]
            add(a, b, distance)
    if which != "across":
        several = np.flatnonzero(size > 1)
        add(several, several, np.zeros(len(several), dtype=np.int64))
    i, j, distance = (np.concatenate(each) for each in zip(*found, strict=True))
    return i, j, distance
