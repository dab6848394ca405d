"""Near-duplicates by the Hamming distance of 64-bit perceptual hashes, exactly and tile by tile: memory stays flat.

Distances of a perceptual hash with a median threshold are nearly always even: half of its bits are set, so that two
hashes differ by as many bits set as cleared.
"""

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.duplicates.components import Components as Components
from eml.dataset.duplicates.components import Indices as Indices
from eml.dataset.duplicates.hamming import Hashes as Hashes
from eml.dataset.duplicates.hamming import Progress, distances, near_between
from eml.dataset.duplicates.hamming import near_pairs as near_pairs
from eml.dataset.problems import at_lines
from eml.dataset.table import Table
from eml.errors import DataError

Keep = Literal["largest", "most-bytes", "first", "last"]
_KEYS = {
    "largest": ["pixels", "bytes", "file_name"],
    "most-bytes": ["bytes", "pixels", "file_name"],
    "first": ["file_name"],
    "last": ["file_name"],
}

FEW = 512  # values that are compared each with each at once
HELD = 2_000_000  # near pairs; of more, as dense clusters have, none is held


def hash_values(table: Table) -> Hashes:
    """The table's hashes as numbers, (N,). Raises DataError where there are none, or of several kinds, or malformed."""
    frame = table.frame
    if "hash" not in frame.columns:
        raise DataError(f"{table.name}: has no column 'hash' to find duplicates by. Run eml scan without --no-hashes")
    if "hash_kind" in frame.columns:
        kinds = frame["hash_kind"].value_counts()
        if len(kinds) > 1:
            found = ", ".join(f"{count:,} of {kind!r}" for kind, count in kinds.items())
            raise DataError(f"{table.name}: hashes of different kinds cannot be compared: {found}. Run eml scan again")
    wrong = frame.index[~frame["hash"].str.fullmatch("[0-9a-fA-F]{16}")]
    if len(wrong):
        problems = [(int(row), f"hash must be 16 hex digits, got {frame['hash'][row]!r}") for row in wrong]
        raise DataError(at_lines(table.path, problems) if table.path else [text for _, text in problems[:20]])
    return np.frombuffer(bytes.fromhex("".join(frame["hash"])), dtype=">u8").astype(np.uint64)


def twins(values: Hashes, groups: Indices, rank: Indices, threshold: int, progress: Progress | None = None) -> Indices:
    """For each image the kept one it duplicates, −1 for those that stay; (N,) each.

    Greedy in the order of `rank` within a group: an image stays unless one that stays is within `threshold` bits, and
    its twin is then the nearest of those (the earlier one on a tie). So every removed image lies within the threshold
    of a kept one, and no two kept ones of a group do: a chain of look-alikes is thinned, not swallowed.
    """
    twin = np.full(len(values), -1, dtype=np.int64)
    order = np.lexsort((rank, groups))
    ends = np.flatnonzero(np.diff(groups[order], append=-1)) + 1
    for members in np.split(order, ends[:-1]) if len(order) else ():
        _, first, inverse = np.unique(values[members], return_index=True, return_inverse=True)
        by_rank = np.sort(first)  # the best of each hash, best first
        best = members[by_rank]
        kept_by = _kept_by(values[best], threshold, progress)
        position = np.searchsorted(by_rank, first)[inverse]  # of each member's hash among the best
        owner = best[kept_by[position]]
        # Later ones of a hash that was covered may have a nearer one, kept in the meantime.
        stays = kept_by == np.arange(len(best))
        later = np.flatnonzero((by_rank[position] != np.arange(len(members))) & ~stays[position])
        if len(later):
            earlier = np.searchsorted(by_rank[stays], later)
            owner[later] = best[stays][_nearest(values[members[later]], values[best[stays]], earlier, threshold)]
        twin[members] = np.where(owner == members, -1, owner)
        if progress:
            progress(len(members) - len(best))
    return twin


def twins_of_pairs(rank: Indices, i: Indices, j: Indices, distance: Indices) -> Indices:
    """As `twins`, where only the pairs (i[n], j[n]) are near each other; (N,) of rank."""
    swap = rank[i] > rank[j]
    first, second = np.where(swap, j, i), np.where(swap, i, j)
    kept, undecided = np.zeros(len(rank), dtype=bool), np.ones(len(rank), dtype=bool)
    a, b = first, second  # of pairs that are both undecided
    while undecided.any():
        stays = undecided.copy()
        stays[b] = False  # a better one may still stay
        goes = np.zeros(len(rank), dtype=bool)
        goes[b[stays[a]]] = True
        kept |= stays
        undecided &= ~(stays | goes)
        both = undecided[a] & undecided[b]
        a, b = a[both], b[both]
    covers = kept[first] & ~kept[second]
    first, second = first[covers], second[covers]
    order = np.lexsort((rank[first], distance[covers], second))
    gone, nearest = np.unique(second[order], return_index=True)
    twin = np.full(len(rank), -1, dtype=np.int64)
    twin[gone] = first[order][nearest]
    return twin


def _kept_by(values: Hashes, threshold: int, progress: Progress | None) -> Indices:
    """Index of the kept value that covers each, its own where it is kept; distinct (N,) values, best first."""
    if len(values) <= FEW:
        distance = distances(values, values)
        kept = _first_kept(distance <= threshold)
        distance[~(np.tri(len(values), dtype=bool).T & kept[:, None])] = 65  # only by kept ones, at least as good
        if progress:
            progress(len(values))
        covered: Indices = distance.argmin(axis=0)
        return covered
    told = 0

    def tell(done: int) -> None:
        nonlocal told
        told += done
        if progress:
            progress(done)

    pairs = _pairs(values, threshold, tell)
    if pairs is not None:
        twin = twins_of_pairs(np.arange(len(values)), *pairs)
        return np.where(twin >= 0, twin, np.arange(len(values)))
    kept = _kept(values, threshold)
    best, gone = np.flatnonzero(kept), np.flatnonzero(~kept)
    covered = np.arange(len(values))
    covered[gone] = best[_nearest(values[gone], values[best], np.searchsorted(best, gone), threshold)]
    tell(len(values) - told)
    return covered


def _pairs(values: Hashes, threshold: int, progress: Progress) -> tuple[Indices, Indices, Indices] | None:
    """All near pairs, None where they are more than can be held."""
    found = [(np.empty(0, dtype=np.int64),) * 3]
    count = 0
    for i, j, distance in near_pairs(values, threshold, progress):
        count += len(i)
        if count > HELD:
            return None
        found.append((i, j, distance.astype(np.int64)))
    i, j, distance = (np.concatenate(each) for each in zip(*found, strict=True))
    return i, j, distance


def _kept(values: Hashes, threshold: int) -> NDArray[np.bool_]:
    """Which values stay: the better half decides alone, and what it does not cover of the other half by itself."""
    if len(values) <= FEW:
        return _first_kept(distances(values, values) <= threshold)
    half = len(values) // 2
    kept = np.zeros(len(values), dtype=bool)
    kept[:half] = _kept(values[:half], threshold)
    covered = np.zeros(len(values) - half, dtype=bool)
    for i, _, _ in near_between(values[half:], values[:half][kept[:half]], threshold):
        covered[i] = True
    rest = half + np.flatnonzero(~covered)
    kept[rest] = _kept(values[rest], threshold)
    return kept


def _first_kept(near: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(N,) which stay where each that stays removes the later ones near it; (N, N)."""
    kept = np.ones(len(near), dtype=bool)
    for row in range(len(near)):
        if kept[row]:
            kept[row + 1 :] &= ~near[row, row + 1 :]
    return kept


def _nearest(values: Hashes, kept: Hashes, before: Indices, threshold: int) -> Indices:
    """Of each value, the index of the nearest among kept[:before[n]], the first on a tie; one is within threshold."""
    least = np.full(len(values), 2**62)  # distance and index as one number
    for i, j, distance in near_between(values, kept, threshold):
        allowed = j < before[i]
        np.minimum.at(least, i[allowed], distance[allowed].astype(np.int64) << 48 | j[allowed])
    return least & (2**48 - 1)


def keeping_order(frame: pd.DataFrame, keep: Keep = "largest") -> Indices:
    """(N,) rank of each row, 0 for the first to be kept.

    largest: most pixels, then most bytes, then the first by file_name. most-bytes: most bytes, then most pixels, then
    the first by file_name. first, last: by file_name. Columns that the table does not have do not count.
    """
    keys = pd.DataFrame({"file_name": frame["file_name"]})
    keys["pixels"] = -frame["width"] * frame["height"] if {"width", "height"} <= set(frame.columns) else 0
    keys["bytes"] = -frame["bytes"] if "bytes" in frame.columns else 0
    order = keys.reset_index(drop=True).sort_values(_KEYS[keep], ascending=keep != "last", kind="stable").index
    rank = np.empty(len(frame), dtype=np.int64)
    rank[order.to_numpy()] = np.arange(len(frame))
    return rank
