"""Draw some of the queries of a retrieval set, by class; the whole gallery is still searched for them."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from eml.evaluation.retrieval_set import RetrievalSet

SEED = 0  # the same images and number always give the same queries, so that models can be compared


def draw_queries(retrieval: RetrievalSet, most: int | None) -> RetrievalSet:
    """Return the set with at most so many of its queries; the set itself where it has no more.

    The queries in the order of their classes, within a class in random order, are taken at equal distances. So every
    query is as likely to be drawn as any other, and a mean over the drawn ones estimates that over all without bias; a
    class gives its share of them, rounded up or down. Queries of unknown identity are drawn at the same rate.

    Args:
        retrieval: The set.
        most: Queries of known identity to keep at most; None for all.
    """
    number = len(retrieval.queries)
    if most is None or number <= most:
        return retrieval
    random = np.random.default_rng([SEED, number, most])
    unknown = retrieval.unknown_queries
    return replace(
        retrieval,
        queries=_draw(retrieval.queries, retrieval.labels, most, random),
        unknown_queries=_draw(unknown, retrieval.labels, -(-len(unknown) * most // number), random),
        protocol=f"{retrieval.protocol}, {most} of {number} queries drawn by class",
        queries_of=number,
    )


def draw_rows(rows: NDArray[np.int64], labels: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return at most so many of some rows (n,), by class, as `draw_queries` draws them. labels: (N,) of all rows."""
    if len(rows) <= most:
        return rows
    return _draw(rows, labels, most, np.random.default_rng([SEED, len(rows), most]))


def _draw(
    queries: NDArray[np.int64], labels: NDArray[np.int64], count: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Return so many of the queries, in the order of the set. queries: (Q,) rows; labels: (N,)."""
    shuffled = random.permutation(len(queries))
    by_class = shuffled[np.argsort(labels[queries[shuffled]], kind="stable")]
    places = (np.arange(count) + random.random()) * (len(queries) / max(1, count))
    return queries[np.sort(by_class[places.astype(np.int64)])]
