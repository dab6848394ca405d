"""The lowest threshold that meets a goal, among similarities in descending order, and what a threshold accepts.

A similarity is accepted if it is at least the threshold, so equal similarities are accepted together.
"""

import numpy as np

from eml.retrieval.arrays import Booleans, Floats, Integers


def lowest_precise(similarity: Floats, right: Booleans, weights: Floats, goals: Floats) -> Floats:
    """Return the lowest threshold of each precision.

    Args:
        similarity: (M,) descending.
        right: (M,) whether accepting it is right.
        weights: (M,) how much each counts.
        goals: (G,) precisions in (0, 1).

    Returns:
        (G,) similarities from which upwards at least that share is right, among a weight of at least 1/(1 − goal),
        since less could not show the goal; NaN if there is none.
    """
    total, good = np.cumsum(weights), np.cumsum(weights * right)
    end = ends_of_ties(similarity) & (weights > 0)
    lowest = np.full(len(goals), np.nan)
    for number, goal in enumerate(goals):
        places = np.flatnonzero(end & (good >= goal * total * (1 - 1e-12)) & (total * (1 - goal) >= 1 - 1e-9))
        if len(places):
            lowest[number] = similarity[places[-1]]
    return lowest


def lowest_within(similarity: Floats, weights: Floats, allowed: Floats) -> Floats:
    """Return the lowest threshold that accepts at most an allowed weight.

    Args:
        similarity: (M,) descending.
        weights: (M,) how much each counts.
        allowed: (G,) sums of weights.

    Returns:
        (G,) similarities; just above the highest if even that is too much, NaN if all weights are 0.
    """
    places = np.flatnonzero(ends_of_ties(similarity) & (weights > 0))
    if not len(places):
        return np.full(len(allowed), np.nan)
    last = np.searchsorted(np.cumsum(weights)[places], allowed * (1 + 1e-12), side="right") - 1
    above = np.nextafter(np.float32(similarity[np.argmax(weights > 0)]), np.float32(2))
    return np.where(last < 0, above, similarity[places[np.maximum(last, 0)]])


def count_accepted(similarity: Floats, thresholds: Floats) -> Integers:
    """Return (T,) how many of the similarities (M,), descending, are at least each threshold; 0 for NaN."""
    number = np.searchsorted(-similarity, -thresholds, side="right")
    return np.where(np.isnan(thresholds), 0, number)


def sum_first(weights: Floats, number: Integers) -> Floats:
    """Return (T,) sums of the first `number` (T,) weights."""
    total: Floats = np.append(0.0, np.cumsum(weights))[number]
    return total


def ends_of_ties(similarity: Floats) -> Booleans:
    """Return (M,) whether the next similarity is lower, or there is none."""
    return np.append(similarity[1:] != similarity[:-1], np.ones(min(1, len(similarity)), bool))


def divide(parts: Floats, totals: Floats | np.float64 | float) -> Floats:
    """Return parts / totals; NaN where the total is 0."""
    shares = np.full(len(parts), np.nan)
    np.divide(parts, totals, out=shares, where=np.broadcast_to(totals, parts.shape) > 0)
    return shares
