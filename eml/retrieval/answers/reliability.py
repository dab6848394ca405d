"""Whether probabilities hold: shares of right answers in bins of probability, and the expected calibration error."""

import numpy as np

from eml.retrieval.answer_calibration import CalibratedRate, ReliabilityBin
from eml.retrieval.arrays import Booleans, Floats, Integers
from eml.retrieval.statistics import Estimate, as_pair, interval_of_share, shares_without_each

BINS = 10


def rate_of(estimate: Estimate) -> CalibratedRate:
    """Return an estimate as plain numbers."""
    low, high = as_pair(estimate.interval)
    return CalibratedRate(value=estimate.value, low=low, high=high)


def share(part: Booleans, weights: Floats, classes: Integers) -> Estimate:
    """Return the weighted share of some queries, with its interval over classes.

    Args:
        part: (Q,) whether a query is in the part.
        weights: (Q,) how much it counts.
        classes: (Q,) integers.
    """
    codes = np.unique(classes, return_inverse=True)[1]
    parts, totals = (np.bincount(codes, values).astype(np.float64) for values in (weights * part, weights))
    value = float(parts.sum() / totals.sum()) if totals.sum() > 0 else float("nan")
    return Estimate(value, interval_of_share(value, shares_without_each(parts, totals)))


def reliability_bins(
    probability: Floats, right: Booleans, weights: Floats, classes: Integers, bins: int = BINS
) -> list[ReliabilityBin]:
    """Return the bins of equal width that have answers.

    Args:
        probability: (Q,) that the answer is right.
        right: (Q,) whether it is.
        weights: (Q,) how much it counts.
        classes: (Q,) integers, the classes of the queries.
        bins: Their number.
    """
    place = _bin_of(probability, bins)
    filled = []
    for number in np.unique(place).tolist():
        rows = place == number
        filled.append(
            ReliabilityBin(
                low=number / bins,
                high=(number + 1) / bins,
                answers=int(rows.sum()),
                classes=len(np.unique(classes[rows])),
                probability=float(np.average(probability[rows], weights=weights[rows])),
                right=rate_of(share(right[rows], weights[rows], classes[rows])),
            )
        )
    return filled


def expected_error(
    probability: Floats, right: Booleans, weights: Floats, classes: Integers, bins: int = BINS
) -> Estimate:
    """Return the expected calibration error with its interval over classes; with the arguments of `reliability_bins`.

    It is the mean over the answers of |mean probability − share of right ones| of their bin (Naeini 2015, AAAI).
    """
    codes = np.unique(classes, return_inverse=True)[1]
    count = int(codes.max()) + 1 if len(codes) else 0
    cell = codes * bins + _bin_of(probability, bins)
    gaps = np.bincount(cell, weights * (probability - right), minlength=count * bins).reshape(count, bins)
    totals = np.bincount(codes, weights, minlength=count)
    value = float(np.abs(gaps.sum(0)).sum() / totals.sum())
    without = np.abs(gaps.sum(0) - gaps).sum(1) / np.maximum(totals.sum() - totals, 1e-300)
    return Estimate(min(1.0, value), interval_of_share(min(1.0, value), without))


def _bin_of(probability: Floats, bins: int) -> Integers:
    return np.minimum((probability * bins).astype(np.int64), bins - 1)
