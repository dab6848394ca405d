"""The classes whose queries are answered worst, and the classes that they are confused with."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eml.retrieval.arrays import Integers
from eml.retrieval.metrics import Summary

MOST = 20
METRIC = "map_at_r"


@dataclass(frozen=True)
class WorstClass:
    """A class with low MAP@R.

    Attributes:
        label: The name of the class.
        queries: Number of its queries that have a positive.
        values: Mean of each metric over these queries.
        taken_for: The class of most of its wrong answers, None if no answer is wrong.
        times: How many of its wrong answers are of that class.
    """

    label: str
    queries: int
    values: dict[str, float]
    taken_for: str | None
    times: int


def worst_classes(
    summary: Summary,
    labels: Integers,
    names: Sequence[str],
    queries: Integers,
    gallery: Integers,
    most: int = MOST,
) -> list[WorstClass]:
    """Return the classes of the lowest mean MAP@R, lowest first; of equal ones the larger first, then by label.

    Args:
        summary: Of the queries, in their order.
        labels: (N,) integers from 0, of the set's images.
        names: (N,) names of the images' classes.
        queries: (Q,) positions of the queries among the images.
        gallery: (G,) positions of the gallery among the images.
        most: Most classes returned.
    """
    counted = np.flatnonzero(summary.answers.has_positive)
    codes = np.unique(labels[queries[counted]], return_inverse=True)[1]
    sizes = np.bincount(codes)
    means = {name: np.bincount(codes, values[counted]) / sizes for name, values in summary.per_query.items()}
    order = np.lexsort((-sizes, means[METRIC]))[:most]  # stable: equal ones stay in the order of their labels
    worst = []
    for index in order.tolist():
        own = counted[codes == index]
        confused, times = summary.answers.most_frequent_error(own, labels[gallery])
        worst.append(
            WorstClass(
                label=str(names[queries[own[0]]]),
                queries=len(own),
                values={name: float(mean[index]) for name, mean in means.items()},
                taken_for=None if confused is None else str(names[int(np.flatnonzero(labels == confused)[0])]),
                times=times,
            )
        )
    return worst
