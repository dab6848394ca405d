"""All pairs of 64-bit hashes that differ by few bits: exact, multithreaded, in constant memory.

A few hashes are compared by brute force. Many are first sorted into buckets: the 64 bits are cut into parts. If two
hashes are within `threshold` bits, at least one part differs by no more than its share of them (if every part differed
by more, the whole would too), so only buckets whose keys are that near need comparing. With a million random hashes
and 10 bits, this leaves one pair in a hundred.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import comb

import numpy as np
from numpy.typing import NDArray

from eml.dataset.duplicates.components import Indices
from eml.threads import in_order

ROWS = 64  # hashes compared at a time with those of the buckets near theirs
TILE = 2**16  # pairs: half a MiB of differences, which fits a core's cache
AREA = 2**20  # pairs that a thread compares at a time: a millisecond
PARTS = 4  # with more, keys are too short to separate; with fewer, too many lie near
BUCKET = 64  # hashes in a bucket, about
MAX_BITS = 16  # of a key, so that sorting by it is quick
STRIP_COST = 30_000  # comparisons that take as long as finding the buckets of a strip of rows

Hashes = NDArray[np.uint64]
Advance = Callable[[int], None]
"""Called with the number of items newly done."""

Distances = NDArray[np.uint8]
Block = tuple[Indices, Indices, Distances]
"""(i, j, distance), (P,) each."""

_buffers = threading.local()


def near_pairs(values: Hashes, threshold: int, advance: Advance | None = None) -> Iterator[Block]:
    """Yield all pairs i < j within `threshold` bits, as blocks of (i, j, distance); (N,) values.

    Every pair occurs once; the blocks and their order depend only on the values. A block holds a million pairs at
    most, or N. `advance` is called with N in all. Equal values make quadratically many pairs: collapse them first.
    """
    for i, j, distance in _near_blocks(values, None, threshold, advance):
        yield np.minimum(i, j), np.maximum(i, j), distance


def near_between(values: Hashes, others: Hashes, threshold: int, advance: Advance | None = None) -> Iterator[Block]:
    """Yield all pairs of values[i] and others[j] within `threshold` bits; otherwise as `near_pairs`."""
    yield from _near_blocks(values, others, threshold, advance)


def distances(rows: Hashes, columns: Hashes) -> Distances:
    """(R, C) number of bits in which (R,) and (C,) values differ."""
    distance: Distances = np.bitwise_count(rows[:, None] ^ columns[None, :])
    return distance


@dataclass(frozen=True)
class _Part:
    """The bits that put hashes into buckets: `bits` of them, from bit `shift` on."""

    shift: int = 0
    bits: int = 0
    reach: int = 0
    """Buckets are compared whose keys differ by at most so many bits."""

    def keys(self, values: Hashes) -> Hashes:
        """(N,) the bucket of each value."""
        return (values >> np.uint64(self.shift)) & np.uint64(2**self.bits - 1)

    def masks(self) -> Indices:
        """(M,) the masks that, xored with a key, give the keys within reach; 0, the key itself, first."""
        flips = (bits for count in range(self.reach + 1) for bits in combinations(range(self.bits), count))
        return np.fromiter((sum(1 << bit for bit in bits) for bits in flips), dtype=np.int64)

    def share(self) -> float:
        """Return the share of all keys that are within reach of a key."""
        within: int = sum(comb(self.bits, count) for count in range(self.reach + 1))
        return within / (1 << self.bits)


ALL = (_Part(),)  # one bucket: every hash with every other


class _Buckets:
    """Hashes in the order of their keys, and the range of each bucket."""

    def __init__(self, values: Hashes, part: _Part) -> None:
        keys = part.keys(values).astype(np.uint16)
        self.order = np.argsort(keys, kind="stable") if part.bits else np.arange(len(values))
        self.values = values[self.order] if part.bits else values
        self.size = np.bincount(keys, minlength=2**part.bits)
        self.end = np.cumsum(self.size)
        self.start = self.end - self.size


class _Join:
    """The comparisons of one part, as strips of rows of one bucket.

    With `others` None, a row of `values` is compared with the rows behind it in the order of keys.
    """

    def __init__(self, values: Hashes, others: Hashes | None, part: _Part, earlier: Sequence[_Part]) -> None:
        self.earlier, self.inner, self.masks = earlier, others is None, part.masks()
        self.rows = _Buckets(values, part)
        self.columns = self.rows if others is None else _Buckets(others, part)
        buckets = np.flatnonzero(self.rows.size)
        width = np.zeros(len(buckets), dtype=np.int64)  # hashes that a row is compared with
        for mask in self.masks:
            near = self.columns.size[buckets ^ mask]
            width += np.where(buckets ^ mask >= buckets, near, 0) if self.inner else near
        height = np.clip(AREA // np.maximum(width, 1), 1, ROWS)
        which, inside = ragged(-(-self.rows.size[buckets] // height))
        self.bucket = buckets[which]
        self.first = self.rows.start[self.bucket] + inside * height[which]
        self.last = np.minimum(self.first + height[which], self.rows.end[self.bucket])
        behind = self.first - self.rows.start[self.bucket] if self.inner else 0
        self.area = (self.last - self.first) * (width[which] - behind)

    def runs(self) -> Iterator[tuple["_Join", range]]:
        """Yield ranges of strips, each the work of one task for a thread."""
        ends = np.flatnonzero(np.diff(np.cumsum(self.area) // AREA, append=-1)) + 1
        for first, last in pairwise([0, *ends.tolist()]):
            yield self, range(first, last)

    def compare(self, strip: int, threshold: int) -> Iterator[Block]:
        """Yield the near pairs of a strip."""
        first, last, bucket = int(self.first[strip]), int(self.last[strip]), int(self.bucket[strip])
        rows = self.rows.values[first:last]
        for columns in self._columns(bucket, first):
            values = self.columns.values[columns]
            wide = TILE // len(rows)
            for left in range(0, len(values), wide):
                near = _near(rows, values[left : left + wide], threshold)
                if near is not None:
                    i, j = near[0] + first, near[1] + left
                    j = j + columns.start if isinstance(columns, slice) else columns[j]
                    yield from self._new(i, j, near[2])

    def _columns(self, bucket: int, first: int) -> Iterator[slice | Indices]:
        """Yield the columns that rows of a bucket, from `first` on, are compared with: a slice and an array."""
        end = int(self.columns.end[bucket])
        yield slice(first if self.inner else int(self.columns.start[bucket]), end)
        near = bucket ^ self.masks[1:]
        if self.inner:
            near = near[near > bucket]
        size = self.columns.size[near]
        if size.any():
            which, inside = ragged(size)
            yield self.columns.start[near][which] + inside

    def _new(self, i: Indices, j: Indices, distance: Distances) -> Iterator[Block]:
        """Yield pairs in the original order, without those that an earlier part yields."""
        new = j > i if self.inner else np.ones(len(i), dtype=bool)
        differing = self.rows.values[i] ^ self.columns.values[j]
        for part in self.earlier:
            new &= np.bitwise_count(part.keys(differing)) > part.reach
        if new.any():
            yield self.rows.order[i[new]], self.columns.order[j[new]], distance[new]


def _near_blocks(values: Hashes, others: Hashes | None, threshold: int, advance: Advance | None) -> Iterator[Block]:
    parts = _parts(values, values if others is None else others, threshold)
    total = sum(_comparisons(values, others, part) for part in parts)
    joins = (_Join(values, others, part, parts[:n]) for n, part in enumerate(parts))
    done = reported = 0
    compared = in_order(lambda run: _compared(*run, threshold), (run for join in joins for run in join.runs()))
    for blocks, area in compared:
        yield from blocks
        done += area
        if advance and (step := min(len(values), len(values) * done // max(1, total)) - reported):
            advance(step)
            reported += step
    if advance:
        advance(len(values) - reported)


def _compared(join: _Join, strips: range, threshold: int) -> tuple[list[Block], int]:
    blocks = [block for strip in strips for block in join.compare(strip, threshold)]
    return blocks, int(join.area[strips.start : strips.stop].sum())


def _near(rows: Hashes, columns: Hashes, threshold: int) -> Block | None:
    """Return (row, column, distance) of the near pairs of a tile, None without any."""
    if not hasattr(_buffers, "differing"):
        _buffers.differing, _buffers.distance = np.empty(TILE, dtype=np.uint64), np.empty(TILE, dtype=np.uint8)
    shape, size = (len(rows), len(columns)), len(rows) * len(columns)
    differing = np.bitwise_xor(rows[:, None], columns[None], out=_buffers.differing[:size].reshape(shape))
    distance = np.bitwise_count(differing, out=_buffers.distance[:size].reshape(shape))
    if not size or distance.min() > threshold:
        return None
    i, j = np.nonzero(distance <= threshold)
    return i, j, distance[i, j]


def _parts(values: Hashes, others: Hashes, threshold: int) -> Sequence[_Part]:
    """Return the parts that compare with the least work."""
    bits = min(MAX_BITS, (len(values) // BUCKET).bit_length())
    parts = _cut(threshold, bits) if bits else ALL
    if sum(part.share() for part in parts) > 0.5:
        return ALL
    inner = None if others is values else others
    cost = sum(_comparisons(values, inner, part) + STRIP_COST * min(len(values), 2**bits) for part in parts)
    return parts if cost < _comparisons(values, inner, ALL[0]) else ALL


def _cut(threshold: int, bits: int) -> Sequence[_Part]:
    """Cut the bits into parts; any two hashes within `threshold` are within reach in at least one of them."""
    count = min(PARTS, threshold + 1)
    reaches = [(threshold + 1 + n) // count - 1 for n in range(count)]  # with one added to each: threshold + 1 in all
    return [_Part(64 // count * n, min(bits, 64 // count), reach) for n, reach in enumerate(reaches)]


def _comparisons(values: Hashes, others: Hashes | None, part: _Part) -> int:
    """Count the pairs that a part compares."""
    if part.bits == 0:
        return len(values) * len(values) // 2 if others is None else len(values) * len(others)
    rows = np.bincount(part.keys(values).astype(np.uint16), minlength=2**part.bits)
    columns = rows if others is None else np.bincount(part.keys(others).astype(np.uint16), minlength=2**part.bits)
    buckets = np.flatnonzero(rows)
    compared = sum(int((rows[buckets] * columns[buckets ^ mask]).sum()) for mask in part.masks())
    return compared // 2 if others is None else compared


def ragged(sizes: Indices) -> tuple[Indices, Indices]:
    """Return (which, inside): 0 sizes[0] times, then 1 sizes[1] times, …; and 0, 1, … within each."""
    which = np.repeat(np.arange(len(sizes)), sizes)
    return which, np.arange(len(which)) - (np.cumsum(sizes) - sizes)[which]
