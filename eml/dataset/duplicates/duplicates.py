"""Near-duplicates by the Hamming distance of 64-bit perceptual hashes: exact, tile by tile, in constant memory.

Distances between perceptual hashes with a median threshold are nearly always even: half of the bits are set, so two
hashes differ by as many set bits as cleared bits.
"""

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.duplicates.components import Indices
from eml.dataset.duplicates.hamming import Advance, Hashes, distances, near_between, near_pairs
from eml.dataset.problems import at_lines, short_repr, value_counts
from eml.dataset.table import Table
from eml.errors import DataError, Problem

Keep = Literal["largest", "most-bytes", "first", "last"]
_KEYS = {
    "largest": ["pixels", "bytes", "file_name"],
    "most-bytes": ["bytes", "pixels", "file_name"],
    "first": ["file_name"],
    "last": ["file_name"],
}

BRUTE_FORCE = 512  # at most so many values are compared by brute force
MAX_HELD_PAIRS = 2_000_000  # near pairs; more, as in dense clusters, are not held


def hash_values(table: Table) -> Hashes:
    """Return (N,) the table's hashes as numbers.

    Raises:
        DataError: The table has no hashes, hashes of several kinds, or malformed ones.
    """
    frame = table.frame
    if "hash" not in frame.columns:
        text = f"{table.name}: has no column 'hash' to find duplicates by. Run: eml scan FOLDER --hashes"
        text += ", and give the table that it makes"
        raise DataError(text, code="missing-column", parameter="hashes")
    if "hash_kind" in frame.columns and frame["hash_kind"].nunique() > 1:
        counts = value_counts(frame["hash_kind"])
        text = f"{table.name}: hashes of different kinds cannot be compared: {counts}. Run eml scan again"
        raise DataError(text, code="mixed-hash-kinds")
    wrong = frame.index[~frame["hash"].str.fullmatch("[0-9a-fA-F]{16}")]
    if len(wrong):
        problems = [
            (int(row), Problem(f"hash must be 16 hex digits, got {short_repr(frame['hash'][row])}", "invalid-value"))
            for row in wrong
        ]
        raise DataError(at_lines(table.path, problems))
    return np.frombuffer(bytes.fromhex("".join(frame["hash"])), dtype=">u8").astype(np.uint64)


def twins(values: Hashes, groups: Indices, rank: Indices, threshold: int, advance: Advance | None = None) -> Indices:
    """Return for each image the kept image that it duplicates, −1 for images that stay; (N,) each.

    Greedy in the order of `rank` within a group: an image stays unless an image that stays is within `threshold` bits;
    its twin is then the nearest of these (the earlier one on a tie). So every removed image is within the threshold
    of a kept one, and no two kept images of a group are: a chain of look-alikes is thinned, not removed as a whole.
    """
    twin = np.full(len(values), -1, dtype=np.int64)
    order = np.lexsort((rank, groups))
    ends = np.flatnonzero(np.diff(groups[order], append=-1)) + 1
    for members in np.split(order, ends[:-1]) if len(order) else ():
        _, first, inverse = np.unique(values[members], return_index=True, return_inverse=True)
        by_rank = np.sort(first)  # the best of each hash, best first
        best = members[by_rank]
        kept_by = _kept_by(values[best], threshold, advance)
        position = np.searchsorted(by_rank, first)[inverse]  # of each member's hash among the best
        owner = best[kept_by[position]]
        # Later images of a hash that was covered may be nearer to an image that is kept since.
        stays = kept_by == np.arange(len(best))
        later = np.flatnonzero((by_rank[position] != np.arange(len(members))) & ~stays[position])
        if len(later):
            earlier = np.searchsorted(by_rank[stays], later)
            owner[later] = best[stays][_nearest(values[members[later]], values[best[stays]], earlier, threshold)]
        twin[members] = np.where(owner == members, -1, owner)
        if advance:
            advance(len(members) - len(best))
    return twin


def twins_of_pairs(rank: Indices, i: Indices, j: Indices, distance: Indices) -> Indices:
    """Return the twins where only the pairs (i[n], j[n]) are near each other; as `twins`, (N,) of rank."""
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


def _kept_by(values: Hashes, threshold: int, advance: Advance | None) -> Indices:
    """Return the index of the kept value that covers each value, its own where it is kept.

    values: (N,) distinct, best first.
    """
    if len(values) <= BRUTE_FORCE:
        distance = distances(values, values)
        kept = _first_kept(distance <= threshold)
        distance[~(np.tri(len(values), dtype=bool).T & kept[:, None])] = 65  # only kept values that are no worse cover
        if advance:
            advance(len(values))
        covered: Indices = distance.argmin(axis=0)
        return covered
    reported = 0

    def report(done: int) -> None:
        nonlocal reported
        reported += done
        if advance:
            advance(done)

    pairs = _pairs(values, threshold, report)
    if pairs is not None:
        twin = twins_of_pairs(np.arange(len(values)), *pairs)
        return np.where(twin >= 0, twin, np.arange(len(values)))
    kept = _kept(values, threshold)
    best, gone = np.flatnonzero(kept), np.flatnonzero(~kept)
    covered = np.arange(len(values))
    covered[gone] = best[_nearest(values[gone], values[best], np.searchsorted(best, gone), threshold)]
    report(len(values) - reported)
    return covered


def _pairs(values: Hashes, threshold: int, advance: Advance) -> tuple[Indices, Indices, Indices] | None:
    """Return (i, j, distance) of all near pairs, None where there are too many to hold."""
    blocks = [(np.empty(0, dtype=np.int64),) * 3]
    count = 0
    for i, j, distance in near_pairs(values, threshold, advance):
        count += len(i)
        if count > MAX_HELD_PAIRS:
            return None
        blocks.append((i, j, distance.astype(np.int64)))
    first, second, bits = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return first, second, bits


def _kept(values: Hashes, threshold: int) -> NDArray[np.bool_]:
    """(N,) whether a value stays: first the better half by itself, then what it does not cover of the other half."""
    if len(values) <= BRUTE_FORCE:
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
    """(N,) whether a value stays, where a value that stays removes the later ones near it; near: (N, N)."""
    kept = np.ones(len(near), dtype=bool)
    for row in range(len(near)):
        if kept[row]:
            kept[row + 1 :] &= ~near[row, row + 1 :]
    return kept


def _nearest(values: Hashes, kept: Hashes, before: Indices, threshold: int) -> Indices:
    """Return for each value the index of the nearest among kept[:before[n]], the first on a tie.

    At least one of them is within the threshold.
    """
    least = np.full(len(values), 2**62)  # distance and index as one number
    for i, j, distance in near_between(values, kept, threshold):
        allowed = j < before[i]
        np.minimum.at(least, i[allowed], distance[allowed].astype(np.int64) << 48 | j[allowed])
    return least & (2**48 - 1)


def keeping_order(frame: pd.DataFrame, keep: Keep = "largest") -> Indices:
    """Return (N,) the rank of each row, 0 for the first to be kept.

    Args:
        frame: The table. Columns that it does not have are ignored.
        keep: `largest` prefers most pixels, then most bytes, then the first file_name; `most-bytes` most bytes, then
            most pixels, then the first file_name; `first` and `last` go by file_name.
    """
    keys = pd.DataFrame({"file_name": frame["file_name"]})
    keys["pixels"] = -frame["width"] * frame["height"] if {"width", "height"} <= set(frame.columns) else 0
    keys["bytes"] = -frame["bytes"] if "bytes" in frame.columns else 0
    order = keys.reset_index(drop=True).sort_values(_KEYS[keep], ascending=keep != "last", kind="stable").index
    rank = np.empty(len(frame), dtype=np.int64)
    rank[order.to_numpy()] = np.arange(len(frame))
    return rank
