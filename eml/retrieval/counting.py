"""Counts of the entries of each row that reach limits, each row in the way that is quickest for it.

Few entries that reach a limit are compared one by one. For a few limits that many reach, the row is compared once with
each. For many of these it is sorted. On one core of a server, for each entry of a row: a comparison takes 0.3 ns, a
sort 6 ns, and an entry that is compared one by one 30 ns.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eml.retrieval.arrays import Booleans, Integers

PASSES = 20  # limits up to which a comparison of the row with each is quicker than to sort it
CROWDED = 8  # entries are compared one by one if at most one in so many reaches the limit
CACHED = 128  # rows of 1,024 that stay in a core's cache while they are compared: 512 KiB
WORDS = 255  # of eight flags, whose sum a byte holds

Values = NDArray[np.floating[Any]]


def count_reached(tile: Values, limits: Values, rare: Integers) -> Integers:
    """Count the entries of each row that are at least each of its limits.

    Args:
        tile: (T, W), row after row in memory.
        limits: (T, R), descending; −inf beyond the limits of a row, where the count means nothing.
        rare: (T,) how many of the row's limits, the first, are reached by few entries. The counts do not depend on it,
            only the time.

    Returns:
        (T, R) counts.
    """
    number = (limits > -np.inf).sum(1)
    rare = np.where(number - rare > PASSES, 0, rare)
    counts = _one_by_one(tile, limits, rare)
    many = number - rare > PASSES
    _by_sorting(tile, limits, np.flatnonzero(many), counts)
    columns = np.arange(limits.shape[1])
    often = (columns >= rare[:, None]) & (columns < np.where(many, 0, number)[:, None])
    rows, columns = np.nonzero(often)
    _by_passes(tile, limits, rows, columns, counts)
    return counts


def _one_by_one(tile: Values, limits: Values, rare: Integers) -> Integers:
    """Return (T, R) counts that are right for the rare limits; set `rare` to 0 where too many entries reach them."""
    rows, number = limits.shape
    lowest = limits[np.arange(rows), np.maximum(rare - 1, 0)]
    lowest[rare == 0] = np.inf
    places = positions_of_true(tile >= lowest[:, None])
    row = places // tile.shape[1]
    crowded = np.bincount(row, minlength=rows) > tile.shape[1] // CROWDED
    if crowded.any():
        rare[crowded] = 0
        places, row = places[~crowded[row]], row[~crowded[row]]
    first = _leading(limits.ravel(), row * number, number, tile.ravel()[places], np.greater)
    counts = np.bincount(row * (number + 1) + first, minlength=rows * (number + 1)).reshape(rows, number + 1)
    return np.asarray(counts[:, :number].cumsum(1))


def _leading(
    ordered: Values, starts: Integers, number: int, values: Values, holds: Callable[[Values, Values], Booleans]
) -> Integers:
    """Count, for each of n values, for how many of the `number` entries from its start on something holds.

    It holds for the first of them, then no more: `holds(entries, values)`. ordered: flat; starts, values: (n,).
    """
    count = starts.copy()
    while number > 1:
        half = number // 2
        count += half * holds(ordered[count + (half - 1)], values)
        number -= half
    count += holds(ordered[count], values)
    return np.asarray(count - starts)


def _by_passes(tile: Values, limits: Values, rows: Integers, columns: Integers, counts: Integers) -> None:
    """Set the counts of some pairs of a row and a limit. rows: (n,), ascending; columns: (n,) of limits."""
    values = np.empty((min(CACHED, len(rows)), tile.shape[1]), tile.dtype)
    flags = np.empty(values.shape, bool)
    for first in range(0, len(rows), CACHED):
        row, column = rows[first : first + CACHED], columns[first : first + CACHED]
        part = slice(len(row))
        np.take(tile, row, axis=0, out=values[part], mode="clip")
        np.greater_equal(values[part], limits[row, column, None], out=flags[part])
        counts[row, column] = count_true(flags[part])


def _by_sorting(tile: Values, limits: Values, rows: Integers, counts: Integers) -> None:
    """Set the counts of some rows, of all limits."""
    width = tile.shape[1]
    values = np.empty((min(CACHED, len(rows)), width), tile.dtype)
    for first in range(0, len(rows), CACHED):
        row = rows[first : first + CACHED]
        ordered = np.take(tile, row, axis=0, out=values[: len(row)], mode="clip")
        ordered.sort(axis=1)
        starts = np.repeat(np.arange(len(row)) * width, limits.shape[1])
        below = _leading(ordered.ravel(), starts, width, limits[row].ravel(), np.less)
        counts[row] = width - below.reshape(len(row), -1)


def count_equal_before(tile: Values, values: Values, rows: Integers, stops: Integers) -> Integers:
    """Count the entries of some rows of tile (T, W) that equal a value each, in the columns before a stop each.

    values, rows, stops: (n,). Returns (n,).
    """
    counts = np.zeros(len(rows), np.int64)
    of_rows = np.empty((min(CACHED, len(rows)), tile.shape[1]), tile.dtype)
    flags = np.empty(of_rows.shape, bool)
    for first in range(0, len(rows), CACHED):
        part = slice(first, first + CACHED)
        chosen = slice(len(rows[part]))
        np.take(tile, rows[part], axis=0, out=of_rows[chosen], mode="clip")
        np.equal(of_rows[chosen], values[part, None], out=flags[chosen])
        places = positions_of_true(flags[chosen])
        row, column = np.divmod(places, tile.shape[1])
        before = column < stops[part][row]
        counts[part] = np.bincount(row[before], minlength=len(rows[part]))
    return counts


def count_true(flags: Booleans) -> Integers:
    """Return (T,) the number of flags that are set in each row of flags (T, n), eight at a time where they fit."""
    words, rest = divmod(flags.shape[1], 8)
    if rest or words > WORDS or not flags.flags.c_contiguous:
        return np.asarray(np.count_nonzero(flags, axis=1))
    sums = flags.view(np.uint64).sum(1, dtype=np.uint64)  # each byte of it counts an eighth of the flags
    return np.asarray(sums.view(np.uint8).reshape(len(flags), 8).sum(1, dtype=np.int64))


def positions_of_true(flags: Booleans) -> Integers:
    """Return the positions of the flags that are set, row after row; quick where these are few."""
    flat = flags.ravel()
    if len(flat) % 8:
        return np.flatnonzero(flat)
    eights = np.flatnonzero(flat.view(np.uint64) != 0)
    places = np.flatnonzero(flat.reshape(-1, 8)[eights])
    return np.asarray(eights[places // 8] * 8 + places % 8)
