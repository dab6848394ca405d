"""Retrieval metrics of galleries in random order: the level that measured ones are to be compared with."""

import numpy as np
from scipy import special  # scikit-learn needs it already

from eml.retrieval.arrays import Floats, Integers


def chance_of_recall(positives: Integers, gallery: int, k: int) -> float:
    """Return the R@K of a gallery in random order: the mean over queries of 1 − C(N − R, K)/C(N, K).

    It is the hypergeometric probability that one of R positives is among K of N images. Queries without a positive do
    not count, as in the metric; NaN where none has one.

    Args:
        positives: (Q,) R, the number of positives of each query.
        gallery: N, the number of images that each query is compared with.
        k: K, of which those beyond N say nothing.
    """
    sizes, counts = np.unique(positives[positives > 0], return_counts=True)
    if not len(sizes):
        return float("nan")
    missed = _chance_to_miss(sizes.astype(np.float64), gallery, min(k, gallery))
    return float(((1 - missed) * counts).sum() / counts.sum())


def chance_of_map_at_r(positives: Integers, gallery: int) -> float:
    """Return the MAP@R of a gallery in random order, NaN where no query has a positive.

    A query's i-th image is a positive with probability R/N, and of the i − 1 images above one (i − 1)(R − 1)/(N − 1)
    are then, so its precision is (1 + (i − 1)(R − 1)/(N − 1))/i on average.
    """
    sizes, counts = np.unique(positives[positives > 0], return_counts=True)
    if not len(sizes):
        return float("nan")
    harmonic = special.digamma(sizes + 1.0) - special.digamma(1.0)  # Σ 1/i over i ≤ R
    among = (sizes - 1) / max(1, gallery - 1)
    values = (harmonic * (1 - among) + sizes * among) / gallery
    return float((values * counts).sum() / counts.sum())


def chance_of_median_rank(positives: Integers, gallery: int) -> float:
    """Return the median rank of the first positive in a random order: the least K whose R@K is a half or more."""
    if not (positives > 0).any():
        return float("nan")
    low, high = 0, gallery
    while high - low > 1:
        middle = (low + high) // 2
        if chance_of_recall(positives, gallery, middle) >= 0.5:
            high = middle
        else:
            low = middle
    return float(high)


def _chance_to_miss(positives: Floats, gallery: int, k: int) -> Floats:
    """Return C(N − R, K)/C(N, K) for each R: that none of R positives is among K of N images at random."""
    others = gallery - positives
    logarithm = (
        special.gammaln(others + 1)
        - special.gammaln(np.maximum(others - k, 0) + 1)
        - special.gammaln(gallery + 1)
        + special.gammaln(gallery - k + 1)
    )
    return np.where(others < k, 0.0, np.exp(np.minimum(logarithm, 0.0)))
