"""The number of pairs of different classes with near hashes by chance, estimated from the dataset's own distances."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from eml.dataset.duplicates.components import Indices
from eml.dataset.duplicates.hamming import Advance, Hashes, near_pairs

SAMPLE = 2**24  # pairs in the sample of a larger dataset: half a second, and about eight of them at 12 bits if random
BLOCK = 2**20
SEED = 0
WINDOW = 6  # even distances above the threshold that the tail is fitted to
MIN_PAIRS = 10  # pairs at a distance for it to count in the fit
MISFIT = 0.3  # of the logarithm of a count: how far real tails stray from the curve, whatever their counts

_HALF = np.arange(33)
_RANDOM = np.array([comb(32, half) ** 2 / comb(64, 32) for half in _HALF])
"""Share of pairs at distance 0, 2, …, 64, of hashes with 32 random bits set, as those of a median threshold have."""


@dataclass(frozen=True)
class PairsAcrossClasses:
    """Pairs of images with different labels, within a threshold."""

    compared: int
    """Pairs with different labels, at any distance."""
    near: int
    """Pairs within the threshold, duplicates and chance together."""
    near_expected_by_chance: float
    """Pairs expected within the threshold if there were no duplicates, from the distances above the threshold."""
    same_image: int | None = None
    """Pairs within the threshold that show the same image; None where the images were not compared."""


def estimate_collisions(
    values: Hashes, labels: Indices, threshold: int, advance: Advance | None = None
) -> PairsAcrossClasses:
    """Count the pairs across classes within `threshold` bits, and estimate how many of them chance makes.

    The logarithm of the ratio between the frequency of a distance and that of random hashes is fitted by a parabola
    over the six even distances above the threshold and extrapolated below it; the estimate is never below the share of
    random hashes and never rises towards 0. A sample is taken of more than 17 million pairs. For similar subjects the
    estimate is rather too low: at 10 bits by a tenth to a fifth on faces, drawings and emoji, five times on groceries;
    see docs/duplicates.md.

    Args:
        values: (N,) hashes.
        labels: (N,) classes.
        threshold: In bits of 64.
        advance: Called with the number of images newly compared.
    """
    expected, compared = expected_by_chance(values, labels, threshold)
    near = count_pairs_across(values, labels, threshold, advance) if compared else 0
    return PairsAcrossClasses(compared, near, expected)


def expected_by_chance(values: Hashes, labels: Indices, threshold: int) -> tuple[float, int]:
    """Return (near_expected_by_chance, compared) of `PairsAcrossClasses`."""
    compared = (len(labels) ** 2 - int((np.unique(labels, return_counts=True)[1] ** 2).sum())) // 2
    if not compared:
        return 0.0, 0
    counts = _counts(values, labels)
    return _tail(counts, threshold) * compared / max(1.0, counts.sum()), compared


def count_pairs_across(values: Hashes, labels: Indices, threshold: int, advance: Advance | None = None) -> int:
    """Count the pairs with different labels within `threshold` bits; values, labels: (N,)."""
    distinct, place = np.unique(values, return_inverse=True)
    number = int(labels.max(initial=0)) + 1
    keys, counts = np.unique(place * number + labels, return_counts=True)  # of hash and label
    label = keys % number
    pairs = 0
    for i, j, _ in near_pairs(distinct[keys // number], threshold, advance):
        across = label[i] != label[j]
        pairs += int((counts[i[across]] * counts[j[across]]).sum())
    return pairs


def _counts(values: Hashes, labels: Indices) -> NDArray[np.float64]:
    """(33,) number of pairs with different labels at distance 0, 2, …, 64; the few odd distances are rounded down."""
    counts = np.zeros(33)
    for first, second in _pairs(len(values)):
        distance = np.bitwise_count(values[first] ^ values[second])
        counts += np.bincount((distance // 2)[labels[first] != labels[second]], minlength=33)
    return counts


def _pairs(size: int) -> Iterator[tuple[Indices, Indices]]:
    """Yield all pairs of `size` items once, or a sample of `SAMPLE` of them, in blocks of about a million."""
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
            yield first, (first + step) % size  # never an item with itself


def _tail(counts: NDArray[np.float64], threshold: int) -> float:
    """Extrapolate the number of pairs at up to `threshold` bits from the counts above it."""
    inside = threshold // 2 + 1  # even distances within the threshold
    random = counts.sum() * _RANDOM
    used = [half for half in range(inside, 17) if counts[half] >= MIN_PAIRS][:WINDOW]
    if len(used) < 2:
        return float(random[:inside].sum())
    at = np.array(used)
    weights = (1 / counts[at] + MISFIT**2) ** -0.5
    curve = np.polyfit(at - at[0], np.log(counts[at] / random[at]), min(2, len(at) - 1), w=weights)
    fitted = np.exp(np.polyval(curve, _HALF[: at[0] + 1] - at[0])) * random[: at[0] + 1]
    falling = np.minimum.accumulate(fitted[::-1])[::-1]
    return float(np.maximum(falling, random[: at[0] + 1])[:inside].sum())
