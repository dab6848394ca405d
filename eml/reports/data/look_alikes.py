"""Look-alikes of a table: groups within a class, and images that look like one of another class."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.duplicates.blank import apart_where_blank, blank_rows
from eml.dataset.duplicates.chance_collisions import estimate_collisions
from eml.dataset.duplicates.components import Indices
from eml.dataset.duplicates.dedup import verified_twins
from eml.dataset.duplicates.duplicates import hash_values, keeping_order, twins
from eml.dataset.duplicates.hamming import Hashes, near_pairs
from eml.dataset.duplicates.label_conflicts import conflicts_of
from eml.dataset.duplicates.same_images import SameImages, same_images
from eml.dataset.table import Table
from eml.progress import Progress


class Duplicate(NamedTuple):
    """An image of a group, and how it differs from the one that stays."""

    row: int
    distance: int
    """Bits of 64."""
    same_bytes: bool
    """Both files have the same bytes."""


@dataclass(frozen=True)
class DuplicateGroup:
    """The image of a class that stays, and those within the threshold of it, the nearest first."""

    label: str
    kept: int
    duplicates: list[Duplicate]


@dataclass(frozen=True)
class Clash:
    """Two classes that share look-alikes."""

    rows: tuple[int, int]
    """The nearest two images."""
    labels: tuple[str, str]
    distance: int
    """Bits of 64 between the two images."""
    same_bytes: bool
    images: int
    """Images of either class whose nearest image is in the other one."""


class ClassPairs(NamedTuple):
    """Numbers of image pairs of different classes."""

    compared: int
    near: int
    """Within the threshold."""
    expected: float
    """Expected within the threshold by chance alone."""


@dataclass(frozen=True)
class LookAlikes:
    """The look-alikes of a table of N images; rows are positions in the table."""

    threshold: int
    twin: Indices
    """(N,) the image of its class that an image duplicates; −1 if it stays."""
    identical: Indices
    """(N,) the same at a threshold of 0."""
    groups: list[DuplicateGroup]
    """The largest first."""
    conflicting: Indices
    """(N,) distance to the nearest image of another class that is the same image; −1 if there is none."""
    copied: NDArray[np.bool_]
    """(N,) whether another class has a file of the same bytes."""
    clashes: list[Clash]
    """Same bytes first, then the nearest, then those of most images."""
    pairs: ClassPairs


@dataclass(frozen=True)
class WithinClasses:
    """Numbers of near-duplicates within classes."""

    images_to_spare: int
    same_hash: int
    groups: int
    largest_group: int


@dataclass(frozen=True)
class LabelConflicts:
    """Numbers of images that are in another class too."""

    images: int
    same_bytes: int
    class_pairs: int


@dataclass(frozen=True)
class OverClasses:
    """Numbers of image pairs of different classes, within the threshold."""

    pairs_compared: int
    pairs_found: int
    pairs_expected_by_chance: float


@dataclass(frozen=True)
class LookAlikeCounts:
    """The numbers of `LookAlikes`."""

    threshold: int
    within_classes: WithinClasses
    label_conflicts: LabelConflicts
    over_classes: OverClasses


def find_look_alikes(table: Table, threshold: int, progress: Progress | None = None) -> LookAlikes:
    """Compare all images of a table.

    Args:
        table: A table with hashes, one row per file.
        threshold: How many bits of 64 the hashes of look-alikes may differ by.
        progress: Reports the progress of the comparison.

    Raises:
        DataError: The hashes cannot be used.
    """
    frame = table.frame
    values = hash_values(table)
    labels = pd.factorize(frame["label"], sort=True)[0].astype(np.int64)
    rank = keeping_order(frame)
    content = _number_contents(frame)
    same = same_images(table, threshold, "all", progress, trust_hash=True)  # the page marks them
    twin = verified_twins(same, rank)
    group, conflicting = _conflicts(table, same)
    nearest = _nearest_of_other_classes(values, labels, rank, group, threshold)
    nearest = _prefer_copies(nearest, np.flatnonzero(group >= 0), rank, labels, content)
    copied = (nearest >= 0) & (content >= 0) & (content == content[nearest])
    blank = blank_rows(frame)
    expected = estimate_collisions(values[~blank], labels[~blank], threshold)
    return LookAlikes(
        threshold=threshold,
        twin=twin,
        identical=twins(values, apart_where_blank(labels, blank), rank, 0),
        groups=_duplicate_groups(frame, values, content, twin),
        conflicting=conflicting,
        copied=copied,
        clashes=_clashes(frame, nearest, conflicting, copied),
        pairs=ClassPairs(expected.compared, expected.near, expected.near_expected_by_chance),
    )


def count_look_alikes(look_alikes: LookAlikes) -> LookAlikeCounts:
    """Count the images, groups and pairs of the look-alikes."""
    sizes = [len(group.duplicates) + 1 for group in look_alikes.groups]
    pairs = look_alikes.pairs
    return LookAlikeCounts(
        threshold=look_alikes.threshold,
        within_classes=WithinClasses(
            images_to_spare=int((look_alikes.twin >= 0).sum()),
            same_hash=int((look_alikes.identical >= 0).sum()),
            groups=len(sizes),
            largest_group=max(sizes, default=0),
        ),
        label_conflicts=LabelConflicts(
            images=int((look_alikes.conflicting >= 0).sum()),
            same_bytes=int(look_alikes.copied.sum()),
            class_pairs=len(look_alikes.clashes),
        ),
        over_classes=OverClasses(pairs.compared, pairs.near, pairs.expected),
    )


def _conflicts(table: Table, same: SameImages) -> tuple[Indices, Indices]:
    """Return (group, distance to the nearest image of another class), (N,) each; −1 for images in no conflict."""
    listed = conflicts_of(table, same)
    group, distance = np.full((2, len(table.frame)), -1)
    rows = table.frame.index.get_indexer(listed.index)
    group[rows], distance[rows] = listed["group"], listed["distance"]
    return group, distance


def _number_contents(frame: pd.DataFrame) -> Indices:
    """Return (N,) a number that files of the same bytes share; −1 if the table does not say, or the image is blank."""
    if "content" not in frame.columns:
        return np.full(len(frame), -1, dtype=np.int64)
    known = frame["content"].mask(blank_rows(frame) | (frame["content"] == ""))
    return pd.factorize(known)[0].astype(np.int64)


def _duplicate_groups(frame: pd.DataFrame, values: Hashes, content: Indices, twin: Indices) -> list[DuplicateGroup]:
    rows = np.flatnonzero(twin >= 0)
    distance = np.bitwise_count(values[rows] ^ values[twin[rows]]).astype(np.int64)
    same = (content[rows] >= 0) & (content[rows] == content[twin[rows]])
    members: dict[int, list[Duplicate]] = {}
    for i in np.lexsort((frame["file_name"].to_numpy()[rows], distance, ~same)):
        members.setdefault(int(twin[rows[i]]), []).append(Duplicate(int(rows[i]), int(distance[i]), bool(same[i])))
    labels, names = frame["label"].to_numpy(), frame["file_name"].to_numpy()
    groups = [DuplicateGroup(str(labels[kept]), kept, duplicates) for kept, duplicates in members.items()]
    return sorted(groups, key=lambda group: (-len(group.duplicates), names[group.kept]))


def _nearest_of_other_classes(
    values: Hashes, labels: Indices, rank: Indices, group: Indices, threshold: int
) -> Indices:
    """Return (N,) for each image of a group its nearest image with another label; −1 for images of no group."""
    nearest_row = np.full(len(values), -1, dtype=np.int64)
    rows = np.flatnonzero(group >= 0)
    rows = rows[np.argsort(rank[rows])]
    if not len(rows):
        return nearest_row
    keys = np.stack([values[rows], labels[rows].astype(np.uint64)])
    _, first, inverse = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    best = rows[first]  # one image for each hash and label: the first that would be kept
    nearest, match = np.full(len(best), threshold + 1), np.full(len(best), -1)
    for i, j, distance in near_pairs(values[best], threshold):
        across = (labels[best[i]] != labels[best[j]]) & (group[best[i]] == group[best[j]])
        for left, right in ((i[across], j[across]), (j[across], i[across])):
            far = distance[across].astype(np.int64)
            order = np.lexsort((-right, -far))  # the nearest is assigned last, and stays
            left, right, far = left[order], right[order], far[order]
            nearer = far < nearest[left]
            nearest[left[nearer]], match[left[nearer]] = far[nearer], right[nearer]
    nearest_row[rows] = np.where(match >= 0, best[match], -1)[inverse]
    return nearest_row


def _prefer_copies(nearest: Indices, rows: Indices, rank: Indices, labels: Indices, content: Indices) -> Indices:
    """Replace the nearest image of another class by a copy of the file where another class has one.

    Args:
        nearest: (N,) the nearest image of another class; changed in place and returned.
        rows: The rows in a conflict.
        rank: (N,) the order in which images are kept.
        labels: (N,) class numbers.
        content: (N,) numbers of the contents, see `_number_contents`.
    """
    rows = rows[np.argsort(rank[rows])]
    known = pd.DataFrame({"row": rows, "label": labels[rows], "content": content[rows]})
    known = known[known["content"] >= 0]
    for _, copies in known[known.duplicated("content", keep=False)].groupby("content"):
        firsts = copies.drop_duplicates("label")
        if len(firsts) > 1:
            first, second = firsts["row"].iloc[0], firsts["row"].iloc[1]
            of_first_class = copies["label"] == firsts["label"].iloc[0]
            nearest[copies["row"]] = np.where(of_first_class, second, first)
    return nearest


def _clashes(frame: pd.DataFrame, nearest: Indices, distance: Indices, copied: NDArray[np.bool_]) -> list[Clash]:
    """Collect the conflicts of each pair of classes."""
    labels = frame["label"].to_numpy()
    conflicts: dict[tuple[str, str], list[tuple[int, int, int]]] = {}
    for row in np.flatnonzero(nearest >= 0):
        left, right = sorted((int(row), int(nearest[row])), key=lambda row: str(labels[row]))
        closeness = -1 if copied[row] else int(distance[row])
        conflicts.setdefault((str(labels[left]), str(labels[right])), []).append((closeness, left, right))
    clashes = []
    for pair, members in conflicts.items():
        closeness, left, right = min(members)
        clashes.append(Clash((left, right), pair, max(closeness, 0), closeness < 0, len(members)))
    return sorted(clashes, key=lambda clash: (not clash.same_bytes, clash.distance, -clash.images, clash.labels))
