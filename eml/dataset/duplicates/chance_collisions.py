"""How many pairs of different classes have near hashes by chance, judged from the dataset's own distances."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from eml.dataset.duplicates.components import Indices
from eml.dataset.duplicates.hamming import Hashes, near_pairs

SAMPLE = 2**24  # pairs looked at where there are more: half a second, and about eight of them at 12 bits if random
BLOCK = 2**20
SEED = 0
WINDOW = 6  # even distances above the threshold that the tail is fitted to
FEWEST = 10  # pairs at a distance for it to count in the fit
MISFIT = 0.3  # of the logarithm of a count: how far real tails stray from the curve, whatever their counts

_HALF = np.arange(33)
_RANDOM = np.array([comb(32, half) ** 2 / comb(64, 32) for half in _HALF])
"""Share of pairs at distance 0, 2, …, 64, of hashes with 32 random bits set, as those of a median threshold have."""


@dataclass(frozen=True)
class Expected:
    """Pairs of images with different labels, within a threshold."""

    pairs: float
    """Expected where nothing is a duplicate: what the distances above the threshold lead to."""
    found: int
    """There are, duplicates and chance together."""
    compared: int
    """Pairs with different labels, at whatever distance."""


def expected_collisions(
    values: Hashes, labels: Indices, threshold: int, progress: Callable[[int], None] | None = None
) -> Expected:
    """How many pairs over classes are to be expected within `threshold` bits by chance; values, labels: (N,).

    The logarithm of how much more frequent a distance is than between random hashes is fitted by a parabola over the
    six even distances above the threshold, and carried on below it; never below random hashes' share, never rising
    towards 0. From a sample of the pairs where there are more than 17 million. On similar subjects it is rather too
    low: at 10 bits by a tenth to a fifth on faces, drawings and emoji, five times on groceries; see docs/duplicates.md.
    """
    pairs, compared = by_chance(values, labels, threshold)
    found = pairs_across(values, labels, threshold, progress) if compared else 0
    return Expected(pairs, found, compared)


def by_chance(values: Hashes, labels: Indices, threshold: int) -> tuple[float, int]:
    """(pairs, compared) of `Expected`."""
    compared = (len(labels) ** 2 - int((np.unique(labels, return_counts=True)[1] ** 2).sum())) // 2
    if not compared:
        return 0.0, 0
    counts = _counts(values, labels)
    return _tail(counts, threshold) * compared / max(1.0, counts.sum()), compared


def pairs_across(values: Hashes, labels: Indices, threshold: int, progress: Callable[[int], None] | None = None) -> int:
    """Number of pairs with different labels within `threshold` bits; (N,) each."""
    keys, counts = np.unique(np.stack([values, labels.astype(np.uint64)]), axis=1, return_counts=True)
    found = 0
    for i, j, _ in near_pairs(keys[0], threshold, progress):
        across = keys[1, i] != keys[1, j]
        found += int((counts[i[across]] * counts[j[across]]).sum())
    return found


def _counts(values: Hashes, labels: Indices) -> NDArray[np.float64]:
    """(33,) how many pairs with different labels are 0, 2, …, 64 bits apart; the few odd distances count downwards."""
    counts = np.zeros(33)
    for first, second in _pairs(len(values)):
        distance = np.bitwise_count(values[first] ^ values[second])
        counts += np.bincount((distance // 2)[labels[first] != labels[second]], minlength=33)
    return counts


def _pairs(size: int) -> Iterator[tuple[Indices, Indices]]:
    """All pairs of `size` items once, or a sample of `SAMPLE` of them, in blocks of about a million."""
    if size * (size - 1) // 2 <= SAMPLE:
        rows = max(1, BLOCK // size)
        for top in range(0, size, rows):
            block, below = np.arange(top, min(top + rows, size)), np.arange(top, size)
            first, second = np.nonzero(block[:, None] < below[None])
            yield first + top, second + top
    else:
        random = np.random.default_rng(SEED)
        for _ in range(SAMPLE // BLOCK):
            first, step = random.integers(0, size, BLOCK), random.integers(1, size, BLOCK)
            yield first, (first + step) % size  # never one with itself


def _tail(counts: NDArray[np.float64], threshold: int) -> float:
    """Pairs at up to `threshold` bits, from the counts above it."""
    inside = threshold // 2 + 1  # even distances within the threshold
    random = counts.sum() * _RANDOM
    used = [half for half in range(inside, 17) if counts[half] >= FEWEST][:WINDOW]
    if len(used) < 2:
        return float(random[:inside].sum())
    at = np.array(used)
    weights = (1 / counts[at] + MISFIT**2) ** -0.5
    curve = np.polyfit(at - at[0], np.log(counts[at] / random[at]), min(2, len(at) - 1), w=weights)
    fitted = np.exp(np.polyval(curve, _HALF[: at[0] + 1] - at[0])) * random[: at[0] + 1]
    falling = np.minimum.accumulate(fitted[::-1])[::-1]
    return float(np.maximum(falling, random[: at[0] + 1])[:inside].sum())
