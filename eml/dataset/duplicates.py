"""Near-duplicates by the Hamming distance of 64-bit perceptual hashes, exactly and tile by tile: memory stays flat.

Distances of a perceptual hash with a median threshold are nearly always even: half of its bits are set, so that two
hashes differ by as many bits set as cleared.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.components import Components as Components
from eml.dataset.components import Indices
from eml.dataset.hamming import COLUMNS, ROWS, Hashes, distances
from eml.dataset.hamming import near_pairs as near_pairs
from eml.dataset.problems import at_lines
from eml.dataset.table import Table
from eml.errors import DataError

Progress = Callable[[int], None]


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
    """For each picture the kept one it duplicates, −1 for those that stay; (N,) each.

    Greedy in the order of `rank` within a group: a picture stays unless one that stays is within `threshold` bits, and
    its twin is then the nearest of those (the earlier one on a tie). So every removed picture lies within the threshold
    of a kept one, and no two kept ones of a group do: a chain of look-alikes is thinned, not swallowed.
    """
    twin = np.full(len(values), -1, dtype=np.int64)
    order = np.lexsort((rank, groups))
    ends = np.flatnonzero(np.diff(groups[order], append=-1)) + 1
    for members in np.split(order, ends[:-1]):
        _, first, inverse = np.unique(values[members], return_index=True, return_inverse=True)
        by_rank = np.sort(first)  # the best of each hash, best first
        best = members[by_rank]
        kept_by = _kept_by(values[best], threshold)
        position = np.searchsorted(by_rank, first)[inverse]  # of each member's hash among the best
        owner = best[kept_by[position]]
        twin[members] = np.where(owner == members, -1, owner)
        if progress:
            progress(len(members))
    return twin


def _kept_by(values: Hashes, threshold: int) -> Indices:
    """Index of the kept value that covers each, its own where it is kept; distinct (N,) values, best first."""
    covered = np.arange(len(values))
    kept = np.empty(len(values), dtype=np.int64)  # grows: kept[:count]
    count = 0
    for top in range(0, len(values), ROWS):
        block = values[top : top + ROWS]
        nearest = np.full(len(block), threshold + 1)
        for left in range(0, count, COLUMNS):
            some = kept[left : min(left + COLUMNS, count)]
            distance = distances(block, values[some])
            least = distance.min(axis=1)
            for row in np.flatnonzero(least < nearest):
                nearest[row] = least[row]
                covered[top + row] = some[distance[row].argmin()]
        within = distances(block, block)
        stays = nearest > threshold
        for row in np.flatnonzero(stays & np.triu(within <= threshold, 1).any(axis=0)):
            stays[row] = not (stays[:row] & (within[:row, row] <= threshold)).any()
        earlier = np.where(np.tri(len(block), k=-1, dtype=bool) & stays, within, np.uint8(255))
        for row in np.flatnonzero(~stays & (earlier.min(axis=1) < nearest)):
            covered[top + row] = top + earlier[row].argmin()
        new = top + np.flatnonzero(stays)
        kept[count : count + len(new)] = new
        count += len(new)
    return covered


def conflicts(
    values: Hashes, labels: Indices, threshold: int, progress: Progress | None = None
) -> tuple[Indices, NDArray[np.int64]]:
    """(component, distance), (N,) each: pictures within `threshold` bits of one with another label.

    distance: to the nearest picture with another label; −1, and component −1, where none is that near. component: the
    same number for pictures that such pairs connect.
    """
    kinds = len(labels) and int(labels.max()) + 1
    keys, inverse = np.unique(np.stack([values, labels.astype(np.uint64)]), axis=1, return_inverse=True)
    distinct, owner = keys[0], keys[1].astype(np.int64)  # one entry for a hash and a label
    nearest = np.full(len(distinct), 65)
    components = Components(len(distinct))
    for i, j, distance in near_pairs(distinct, threshold, progress) if kinds > 1 else ():
        across = owner[i] != owner[j]
        i, j, distance = i[across], j[across], distance[across]
        np.minimum.at(nearest, i, distance)
        np.minimum.at(nearest, j, distance)
        components.add(i, j)
    component = np.where(nearest <= threshold, components.labels(), -1)[inverse]
    return component, np.where(nearest <= threshold, nearest, -1)[inverse]


def keeping_order(frame: pd.DataFrame) -> Indices:
    """(N,) rank of each row, 0 for the first to be kept: largest area, then most bytes, then file_name.

    Columns that the table does not have do not count.
    """
    keys = pd.DataFrame({"file_name": frame["file_name"]})
    keys["area"] = -frame["width"] * frame["height"] if {"width", "height"} <= set(frame.columns) else 0
    keys["bytes"] = -frame["bytes"] if "bytes" in frame.columns else 0
    order = keys.reset_index(drop=True).sort_values(["area", "bytes", "file_name"], kind="stable").index
    rank = np.empty(len(frame), dtype=np.int64)
    rank[order.to_numpy()] = np.arange(len(frame))
    return rank
