"""Label conflicts: the same picture under different labels. One of the labels is wrong, and nothing says which."""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.components import Components, Indices
from eml.dataset.duplicates import hash_values
from eml.dataset.hamming import Hashes, near_pairs, ragged
from eml.dataset.scan import Progress
from eml.dataset.second_look import confirmed
from eml.dataset.table import Table
from eml.errors import DataError

MOST = 20_000_000  # candidate pairs that are held, 24 bytes each


@dataclass(frozen=True)
class Conflicts:
    """What became of the pairs of pictures with different labels and near hashes."""

    listed: pd.DataFrame
    """`group, file_name, label, distance`, with the index of the table's rows."""
    candidates: int
    """Pairs with near hashes."""
    confirmed: int
    """Those of them that are the same picture."""


def label_conflicts(table: Table, threshold: int, *, progress: Progress | None = None) -> pd.DataFrame:
    """Pictures that are there with another label too: `group, file_name, label, distance`, with the table's index.

    Candidates are the pairs with different labels within `threshold` bits; they are conflicts where the content is
    identical, or where a second look at the pictures themselves confirms that they are the same. group: from 1, of
    pictures that such pairs connect. distance: bits to the nearest such picture.
    progress: (description, total) → context manager → function told how many are newly done.
    Raises DataError for a table without usable hashes, and for candidates that cannot be read.
    """
    return find_conflicts(table, threshold, progress).listed


def find_conflicts(table: Table, threshold: int, progress: Progress | None = None) -> Conflicts:
    """As `label_conflicts`, with the numbers of pairs."""
    files = _files(table)
    i, j, distance = _candidates(table, files, threshold, progress)
    pairs = files.copies[i] * files.copies[j]
    same = files.content[i] == files.content[j]
    if not same.all():
        names = table.frame["file_name"].iloc[files.row].tolist()
        same[~same] = confirmed(table.root, names, i[~same], j[~same], progress)
    listed = _listed(table.frame, *_of_pairs(files, i[same], j[same], distance[same]))
    return Conflicts(listed, int(pairs.sum()), int(pairs[same].sum()))


def exact_conflicts(table: Table) -> Conflicts:
    """Conflicts of identical files, by the column `content`: nothing is read. None where there is no such column."""
    frame = table.frame
    if "content" not in frame.columns:
        return Conflicts(_listed(frame, *np.full((2, len(frame)), -1)), 0, 0)
    known = frame[frame["content"] != ""]
    labels = known.groupby("content", sort=False)["label"]
    inside = known[labels.transform("nunique") > 1]
    copies = inside.groupby(["content", "label"], sort=False).size()
    pairs = int((copies.groupby("content").sum() ** 2 - (copies**2).groupby("content").sum()).sum()) // 2
    group, distance = np.full((2, len(frame)), -1)
    rows = frame.index.get_indexer(inside.index)
    group[rows], distance[rows] = pd.factorize(inside["content"])[0], 0
    return Conflicts(_listed(frame, group, distance), pairs, pairs)


@dataclass(frozen=True)
class _Files:
    """A table's pictures, those of one hash, label and content taken as one; sorted by these, (F,) each."""

    hashes: Hashes
    labels: Indices
    content: Indices
    row: Indices
    """The first of its rows."""
    copies: Indices
    """How many rows it stands for."""
    of_row: Indices
    """(N,) of each row: its place here."""


def _files(table: Table) -> _Files:
    frame = table.frame
    hashes, labels = hash_values(table), pd.factorize(frame["label"])[0].astype(np.int64)
    content = np.arange(len(frame))
    if "content" in frame.columns:
        codes = pd.factorize(frame["content"])[0]
        content = np.where(frame["content"] == "", content + len(frame), codes)  # unknown content equals no other
    order = np.lexsort((content, labels, hashes))
    starts = _starts(hashes[order], labels[order], content[order])
    of_row = np.empty(len(frame), dtype=np.int64)
    of_row[order] = np.cumsum(starts) - 1
    row = order[starts]
    return _Files(hashes[row], labels[row], content[row], row, np.bincount(of_row), of_row)


def _starts(*columns: NDArray[Any]) -> NDArray[np.bool_]:
    """Where sorted columns begin a new combination of values."""
    new = np.ones(len(columns[0]), dtype=bool)
    new[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return new


def _candidates(
    table: Table, files: _Files, threshold: int, progress: Progress | None
) -> tuple[Indices, Indices, Indices]:
    """(i, j, distance) of all pairs of files with different labels within `threshold` bits."""
    start = np.flatnonzero(_starts(files.hashes, files.labels))  # of each hash and label
    size = np.diff(start, append=len(files.row))
    labels = files.labels[start]
    found: list[tuple[Indices, Indices, Indices]] = [(np.empty(0, dtype=np.int64),) * 3]
    count = 0
    with progress("comparing hashes", len(start)) if progress else nullcontext() as advance:
        for a, b, distance in near_pairs(files.hashes[start], threshold, advance):
            across = labels[a] != labels[b]
            a, b, distance = a[across], b[across], distance[across]
            count += int((size[a] * size[b]).sum())
            if count > MOST:
                told = (
                    f"more than {MOST:,} pairs with different labels are within {threshold} bits: too many to look at"
                )
                raise DataError(f"{table.name}: {told}. Give a lower --threshold, or --scope class")
            which, inside = ragged(size[a] * size[b])
            across_rows, columns = np.divmod(inside, size[b][which])
            found.append((start[a][which] + across_rows, start[b][which] + columns, distance[which].astype(np.int64)))
    i, j, distance = (np.concatenate(each) for each in zip(*found, strict=True))
    return i, j, distance


def _of_pairs(files: _Files, i: Indices, j: Indices, distance: Indices) -> tuple[Indices, Indices]:
    """(group, distance to the nearest), (N,) each, −1 outside of all pairs."""
    nearest = np.full(len(files.row), 65)
    np.minimum.at(nearest, i, distance)
    np.minimum.at(nearest, j, distance)
    components = Components(len(files.row))
    components.add(i, j)
    inside = nearest <= 64
    return np.where(inside, components.labels(), -1)[files.of_row], np.where(inside, nearest, -1)[files.of_row]


def _listed(frame: pd.DataFrame, group: Indices, distance: Indices) -> pd.DataFrame:
    """The rows that have a group; groups are numbered from 1 by their first file_name, whatever the order of rows."""
    listed = frame[["file_name", "label"]].assign(group=group, distance=distance)
    listed = listed[listed["group"] >= 0].sort_values("file_name")
    listed["group"] = pd.factorize(listed["group"])[0] + 1
    return listed.sort_values(["group", "file_name"])[["group", "file_name", "label", "distance"]]
