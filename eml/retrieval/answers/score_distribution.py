"""The distribution of the known score at calibration."""

import numpy as np

from eml.retrieval.answer_calibration import ScoreDistribution
from eml.retrieval.arrays import Booleans, Floats, Integers

EDGES = 40
RESAMPLES = 200


def describe_scores(
    scores: Floats, known: Booleans, weights: Floats, classes: Integers, seed: int
) -> ScoreDistribution:
    """Return the shares of known and of unknown queries in bins of the known score.

    Args:
        scores: (N,) known scores.
        known: (N,) whether the query's class is in the gallery.
        weights: (N,) how much each counts among those of its kind.
        classes: (N,) integers.
        seed: Of the resamples of classes that the noise is measured by.
    """
    edges = np.unique(np.quantile(scores, np.linspace(0, 1, EDGES + 2)[1:-1]))
    codes = np.unique(classes, return_inverse=True)[1]
    count, bins = int(codes.max()) + 1, len(edges) + 1
    cell = codes * bins + np.searchsorted(edges, scores, side="right")
    tables = [
        np.bincount(cell[rows], weights[rows], minlength=count * bins).reshape(count, bins) for rows in (known, ~known)
    ]
    whole = [_shares(table.sum(0)) for table in tables]
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    distances = []
    for draw in draws:
        parts = [_shares(draw @ table) for table in tables]
        distances.append(np.abs(np.cumsum(sum(parts) - sum(whole))).max() / 2)
    return ScoreDistribution(
        edges=edges.tolist(),
        known=whole[0].tolist(),
        unknown=whole[1].tolist(),
        noise=float(np.quantile(distances, 0.95)),
    )


def _shares(counts: Floats) -> Floats:
    shares: Floats = counts / max(1e-12, counts.sum())
    return shares
