"""Rows of a table that show the same image: near hashes, verified by comparing the images themselves."""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.duplicates.blank import apart_where_blank, blank_rows
from eml.dataset.duplicates.components import Indices
from eml.dataset.duplicates.duplicates import hash_values
from eml.dataset.duplicates.hamming import Distances, Hashes, near_pairs, ragged
from eml.dataset.duplicates.verify_pairs import verify_pairs
from eml.dataset.table import Table
from eml.errors import DataError
from eml.progress import Progress

MAX_CANDIDATES = 20_000_000  # candidate pairs that are held, 24 bytes each

PairLabels = Literal["across", "within", "all"]
"""Pairs with different labels, pairs with the same label, or both."""


@dataclass(frozen=True)
class CandidateFiles:
    """A table's rows, where rows of the same hash, label and content count as one file; sorted by these, (F,) each.

    Each blank row is a file of its own.
    """

    hashes: Hashes
    labels: Indices
    content: Indices
    """A number for each content; unknown content has a number of its own."""
    row: Indices
    """The first of its rows."""
    copies: Indices
    """The number of its rows."""
    of_row: Indices
    """(N,) the file of each row."""
    blank: NDArray[np.bool_]
    """Whether it shows nothing, and is compared with no other."""


@dataclass(frozen=True)
class SameImages:
    """Pairs of files that show the same image, (P,) each: i, j, the distance of their hashes in bits."""

    files: CandidateFiles
    i: Indices
    j: Indices
    distance: Indices
    near_across: int
    """Pairs of rows with different labels and near hashes, verified or not."""

    def across(self) -> tuple[Indices, Indices, Indices]:
        """Return (i, j, distance) of the pairs with different labels."""
        return self._where(self.files.labels[self.i] != self.files.labels[self.j])

    def within(self) -> tuple[Indices, Indices, Indices]:
        """Return (i, j, distance) of the pairs with the same label."""
        return self._where(self.files.labels[self.i] == self.files.labels[self.j])

    def count_across(self) -> int:
        """Count the pairs of rows with different labels that show the same image."""
        i, j, _ = self.across()
        return int((self.files.copies[i] * self.files.copies[j]).sum())

    def _where(self, mask: NDArray[np.bool_]) -> tuple[Indices, Indices, Indices]:
        return self.i[mask], self.j[mask], self.distance[mask]


def same_images(
    table: Table, threshold: int, labels: PairLabels, progress: Progress | None = None, *, trust_hash: bool = False
) -> SameImages:
    """Return the pairs within `threshold` bits that have the same content or whose images are the same.

    Blank images are in no pair.

    Args:
        table: Rows with hashes.
        threshold: Largest distance of two hashes, in bits of 64.
        labels: Which pairs to compare.
        progress: Shows the comparison of hashes and the reading of images.
        trust_hash: Count candidates that cannot be read as the same.

    Raises:
        DataError: The table has no usable hashes, there are more candidates than can be held, or a candidate cannot
            be read (unless `trust_hash`).
    """
    if table.frame["file_name"].duplicated().any():
        text = f"{table.name}: whole images are compared, and some occur with several boxes"
        raise DataError(text, code="several-boxes")
    files = _files(table)
    i, j, distance = _candidates(table, files, threshold, labels, progress)
    across = files.labels[i] != files.labels[j]
    near_across = int((files.copies[i[across]] * files.copies[j[across]]).sum())
    same = files.content[i] == files.content[j]
    if not same.all():
        names = table.frame["file_name"].iloc[files.row].tolist()
        same[~same] = verify_pairs(table.root, names, i[~same], j[~same], progress, trust_hash=trust_hash)
    return SameImages(files, i[same], j[same], distance[same], near_across)


def _files(table: Table) -> CandidateFiles:
    frame = table.frame
    hashes, labels = hash_values(table), pd.factorize(frame["label"])[0].astype(np.int64)
    content = np.arange(len(frame))
    if "content" in frame.columns:
        codes = pd.factorize(frame["content"])[0]
        content = np.where(frame["content"] == "", content + len(frame), codes)
    blank = blank_rows(frame)
    content = apart_where_blank(content, blank)
    order = np.lexsort((content, labels, hashes))
    starts = _starts(hashes[order], labels[order], content[order])
    of_row = np.empty(len(frame), dtype=np.int64)
    of_row[order] = np.cumsum(starts) - 1
    row = order[starts]
    return CandidateFiles(hashes[row], labels[row], content[row], row, np.bincount(of_row), of_row, blank[row])


def _starts(*columns: NDArray[Any]) -> NDArray[np.bool_]:
    """(N,) whether sorted columns begin a new combination of values."""
    new = np.ones(len(columns[0]), dtype=bool)
    new[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return new


def _candidates(
    table: Table, files: CandidateFiles, threshold: int, pair_labels: PairLabels, progress: Progress | None
) -> tuple[Indices, Indices, Indices]:
    """Return (i, j, distance) of the pairs of files within `threshold` bits."""
    compared = np.flatnonzero(~files.blank)
    hashes, labels = files.hashes[compared], files.labels[compared]
    start = np.flatnonzero(_starts(hashes, labels))  # of the files of each hash and label
    size = np.diff(start, append=len(compared))
    labels = labels[start]
    blocks = [(np.empty(0, dtype=np.int64),) * 3]
    count = 0

    def add(a: Indices, b: Indices, distance: Distances | Indices) -> None:
        """Add the pairs of all files of a[n] with all of b[n]; each pair once where these are the same."""
        nonlocal count
        pairs = size[a] * size[b]
        count += int(pairs.sum())
        if count > MAX_CANDIDATES:
            raise _too_many_candidates(table, threshold)
        of, inside = ragged(pairs)
        i, j = np.divmod(inside, size[b][of])
        i, j = start[a][of] + i, start[b][of] + j
        once = (a != b)[of] | (i < j)
        blocks.append((i[once], j[once], distance[of][once].astype(np.int64)))

    with progress("comparing hashes", len(start)) if progress else nullcontext() as advance:
        for a, b, distance in near_pairs(hashes[start], threshold, advance):
            if pair_labels != "all":
                mask = (labels[a] != labels[b]) == (pair_labels == "across")
                a, b, distance = a[mask], b[mask], distance[mask]
            add(a, b, distance)
    if pair_labels != "across":
        several = np.flatnonzero(size > 1)
        add(several, several, np.zeros(len(several), dtype=np.int64))
    first, second, bits = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return compared[first], compared[second], bits


def _too_many_candidates(table: Table, threshold: int) -> DataError:
    text = (
        f"{table.name}: more than {MAX_CANDIDATES:,} pairs of images are within {threshold} bits, too many to compare"
    )
    advice = 'Give a lower `threshold`, or `scope="class"` with `hash_only`'
    return DataError(f"{text}. {advice}", code="too-many-pairs", parameter="threshold")
