"""The lowest threshold that keeps to a goal, of similarities in descending order, and what a threshold accepts."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def lowest_precise(similarity: Floats, right: NDArray[np.bool_], weights: Floats, goals: Floats) -> Floats:
    """For each goal the lowest similarity (descending) with at least that share of right ones from it upwards.

    Among at least 1 / (1 − goal), since fewer could not show it; NaN where there is none.
    """
    total, good = np.cumsum(weights), np.cumsum(weights * right)
    end = ends_of_ties(similarity) & (weights > 0)
    found = np.full(len(goals), np.nan)
    for number, goal in enumerate(goals):
        places = np.flatnonzero(end & (good >= goal * total * (1 - 1e-12)) & (total * (1 - goal) >= 1 - 1e-9))
        if len(places):
            found[number] = similarity[places[-1]]
    return found


def lowest_within(similarity: Floats, weights: Floats, allowed: Floats) -> Floats:
    """For each allowed sum the lowest similarity (descending) from which upwards the weights sum up to no more.

    Just above the highest where even that is too much; NaN where there are none that weigh.
    """
    places = np.flatnonzero(ends_of_ties(similarity) & (weights > 0))
    if not len(places):
        return np.full(len(allowed), np.nan)
    last = np.searchsorted(np.cumsum(weights)[places], allowed * (1 + 1e-12), side="right") - 1
    above = np.nextafter(np.float32(similarity[np.argmax(weights > 0)]), np.float32(2))
    return np.where(last < 0, above, similarity[places[np.maximum(last, 0)]])


def accepted(similarity: Floats, thresholds: Floats) -> NDArray[np.int64]:
    """(T,) how many of the similarities (descending) are at least each threshold; none of NaN."""
    number = np.searchsorted(-similarity, -thresholds, side="right")
    return np.where(np.isnan(thresholds), 0, number)


def summed(weights: Floats, number: NDArray[np.int64]) -> Floats:
    """(T,) sum of the first so many weights."""
    total: Floats = np.append(0.0, np.cumsum(weights))[number]
    return total


def ends_of_ties(similarity: Floats) -> NDArray[np.bool_]:
    """(M,) whether the next one is lower."""
    return np.append(similarity[1:] != similarity[:-1], np.ones(min(1, len(similarity)), bool))


def shares(some: Floats, of: Floats | np.float64 | float) -> Floats:
    """some / of; NaN where `of` is 0."""
    found = np.full(len(some), np.nan)
    np.divide(some, of, out=found, where=np.broadcast_to(of, some.shape) > 0)
    return found
