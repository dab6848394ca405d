"""Look-alikes of a table: groups within a class, and images that look like one of another class."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from eml.dataset.duplicates.chance_collisions import estimate_collisions
from eml.dataset.duplicates.components import Indices
from eml.dataset.duplicates.dedup import verified_twins
from eml.dataset.duplicates.duplicates import hash_values, keeping_order, twins
from eml.dataset.duplicates.hamming import Hashes, near_pairs
from eml.dataset.duplicates.label_conflicts import conflicts_of
from eml.dataset.duplicates.same_images import SameImages, same_images
from eml.dataset.table import Table
from eml.progress import Progress


class Member(NamedTuple):
    """An image of a group. distance: bits of 64 to the one that stays; same_bytes: it is a copy of that file."""

    row: int
    distance: int
    same_bytes: bool


@dataclass(frozen=True)
class Group:
    """Images of one class within the threshold of the one that stays; the nearest first."""

    label: str
    kept: int
    others: list[Member]


@dataclass(frozen=True)
class Clash:
    """Two classes that share look-alikes: the nearest two images, and how many images have theirs here."""

    rows: tuple[int, int]
    labels: tuple[str, str]
    distance: int
    same_bytes: bool
    images: int


class Chance(NamedTuple):
    """Pairs of different classes: how many there are, are within the threshold, and would be so by chance alone."""

    compared: int
    found: int
    expected: float
    how: str
    """In words: what the expected number supposes."""


@dataclass(frozen=True)
class Near:
    """All that the page tells of look-alikes; rows are positions in the table."""

    threshold: int
    twin: Indices
    """(N,) the image of its class that an image duplicates, −1 where it stays."""
    identical: Indices
    """(N,) the same at a threshold of 0."""
    groups: list[Group]
    """The largest first."""
    conflicting: Indices
    """(N,) distance to the nearest image of another class that is the same image; −1 where there is none."""
    copied: Any
    """(N,) bool: another class has a file of the same bytes."""
    clashes: list[Clash]
    """Same bytes first, then the nearest, then those of most images."""
    chance: Chance


def look_alikes(table: Table, threshold: int, progress: Progress | None = None) -> Near:
    """Compares all images. Raises DataError where the hashes cannot be used.

    progress: (description, total) → context manager → function told how many are newly done.
    """
    frame = table.frame
    values = hash_values(table)
    labels = pd.factorize(frame["label"], sort=True)[0].astype(np.int64)
    rank = keeping_order(frame)
    content = _contents(frame)
    same = same_images(table, threshold, "all", progress, trust_hash=True)  # the page marks them
    twin = verified_twins(same, rank)
    group, conflicting = _conflicts(table, same)
    positive = _positives(values, labels, rank, content, group, threshold)
    copied = (positive >= 0) & (content >= 0) & (content == content[positive])
    return Near(
        threshold=threshold,
        twin=twin,
        identical=twins(values, labels, rank, 0),
        groups=_groups(frame, values, content, twin),
        conflicting=conflicting,
        copied=copied,
        clashes=_clashes(frame, positive, conflicting, copied),
        chance=_chance(values, labels, threshold),
    )


def _conflicts(table: Table, same: SameImages) -> tuple[Indices, Indices]:
    """(group, distance to the nearest of another class), (N,) each; −1 for images in no conflict."""
    listed = conflicts_of(table, same)
    group, distance = np.full((2, len(table.frame)), -1)
    rows = table.frame.index.get_indexer(listed.index)
    group[rows], distance[rows] = listed["group"], listed["distance"]
    return group, distance


def _chance(values: Hashes, labels: Indices, threshold: int) -> Chance:
    """How many pairs over classes have near hashes, and how many the dataset's own distances lead to expect."""
    made = estimate_collisions(values, labels, threshold)
    how = "are to be expected by chance, judged from the distances between classes"
    return Chance(made.compared, made.near, made.near_expected_by_chance, how)


def _contents(frame: pd.DataFrame) -> Indices:
    """(N,) the same number for files of the same bytes; −1 where that is not known."""
    if "content" not in frame.columns:
        return np.full(len(frame), -1, dtype=np.int64)
    return pd.factorize(frame["content"].replace("", None))[0].astype(np.int64)


def _groups(frame: pd.DataFrame, values: Hashes, content: Indices, twin: Indices) -> list[Group]:
    rows = np.flatnonzero(twin >= 0)
    distance = np.bitwise_count(values[rows] ^ values[twin[rows]]).astype(np.int64)
    same = (content[rows] >= 0) & (content[rows] == content[twin[rows]])
    members: dict[int, list[Member]] = {}
    for i in np.lexsort((frame["file_name"].to_numpy()[rows], distance, ~same)):
        members.setdefault(int(twin[rows[i]]), []).append(Member(int(rows[i]), int(distance[i]), bool(same[i])))
    labels, names = frame["label"].to_numpy(), frame["file_name"].to_numpy()
    groups = [Group(str(labels[kept]), kept, others) for kept, others in members.items()]
    return sorted(groups, key=lambda group: (-len(group.others), names[group.kept]))


def _positives(
    values: Hashes, labels: Indices, rank: Indices, content: Indices, group: Indices, threshold: int
) -> Indices:
    """(N,) for each image of a group the nearest of it with another label, a copy of the file first; else −1."""
    positive = np.full(len(values), -1, dtype=np.int64)
    rows = np.flatnonzero(group >= 0)
    rows = rows[np.argsort(rank[rows])]
    if not len(rows):
        return positive
    keys = np.stack([values[rows], labels[rows].astype(np.uint64)])
    _, first, inverse = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    best = rows[first]  # one image for each hash and label, the first that would be kept
    nearest, other = np.full(len(best), threshold + 1), np.full(len(best), -1)
    for i, j, distance in near_pairs(values[best], threshold):
        across = (labels[best[i]] != labels[best[j]]) & (group[best[i]] == group[best[j]])
        for one, two in ((i[across], j[across]), (j[across], i[across])):
            far = distance[across].astype(np.int64)
            order = np.lexsort((-two, -far))  # the nearest is assigned last, and stays
            one, two, far = one[order], two[order], far[order]
            nearer = far < nearest[one]
            nearest[one[nearer]], other[one[nearer]] = far[nearer], two[nearer]
    positive[rows] = np.where(other >= 0, best[other], -1)[inverse]
    return _copies_first(positive, rows, labels, content)


def _copies_first(positive: Indices, rows: Indices, labels: Indices, content: Indices) -> Indices:
    """The positive is a copy of the file where another class has one. rows: the conflicting ones, best first."""
    known = pd.DataFrame({"row": rows, "label": labels[rows], "content": content[rows]})
    known = known[known["content"] >= 0]
    for _, copies in known[known.duplicated("content", keep=False)].groupby("content"):
        firsts = copies.drop_duplicates("label")
        if len(firsts) > 1:
            one, other = firsts["row"].iloc[0], firsts["row"].iloc[1]
            mine = copies["label"] == firsts["label"].iloc[0]
            positive[copies["row"]] = np.where(mine, other, one)
    return positive


def _clashes(frame: pd.DataFrame, positive: Indices, distance: Indices, copied: Any) -> list[Clash]:
    """One for each two classes."""
    labels = frame["label"].to_numpy()
    found: dict[tuple[str, str], list[tuple[int, int, int]]] = {}
    for row in np.flatnonzero(positive >= 0):
        one, other = sorted((int(row), int(positive[row])), key=lambda each: str(labels[each]))
        key = (str(labels[one]), str(labels[other]))
        closeness = -1 if copied[row] else int(distance[row])
        found.setdefault(key, []).append((closeness, one, other))
    clashes = []
    for pair, those in found.items():
        closeness, one, other = min(those)
        clashes.append(Clash((one, other), pair, max(closeness, 0), closeness < 0, len(those)))
    return sorted(clashes, key=lambda clash: (not clash.same_bytes, clash.distance, -clash.images, clash.labels))
