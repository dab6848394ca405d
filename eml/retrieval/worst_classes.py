"""The classes that are found worst, and what they are taken for."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eml.retrieval.metrics import Summary

MOST = 20
METRIC = "map_at_r"


@dataclass(frozen=True)
class WorstClass:
    """queries: that count. values: mean of each metric over them. taken_for: the class of most of its wrong answers.

    times: how many of its wrong answers are of that class; (None, 0) where none is wrong.
    """

    label: str
    queries: int
    values: dict[str, float]
    taken_for: str | None
    times: int


def worst_classes(
    summary: Summary,
    labels: NDArray[np.int64],
    names: Sequence[str],
    queries: NDArray[np.int64],
    gallery: NDArray[np.int64],
    most: int = MOST,
) -> list[WorstClass]:
    """The classes of the lowest mean MAP@R, lowest first; of equal ones the larger first, then by label.

    labels: (N,) of the set's images, and names: (N,) of their classes; queries (Q,), gallery (G,): positions among
    them, in the order of the summary.
    """
    counted = np.flatnonzero(summary.answers.has_positive)
    of = np.unique(labels[queries[counted]], return_inverse=True)[1]
    sizes = np.bincount(of)
    means = {name: np.bincount(of, values[counted]) / sizes for name, values in summary.per_query.items()}
    worst = np.lexsort((-sizes, means[METRIC]))[:most]  # stable: equal ones stay in the order of their labels
    found = []
    for index in worst.tolist():
        mine = counted[of == index]
        other, times = summary.answers.taken_for(mine, labels[gallery])
        found.append(
            WorstClass(
                str(names[queries[mine[0]]]),
                len(mine),
                {name: float(each[index]) for name, each in means.items()},
                None if other is None else str(names[int(np.flatnonzero(labels == other)[0])]),
                times,
            )
        )
    return found
