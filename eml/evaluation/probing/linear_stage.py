"""MAP@R of embeddings as they are, and after within-class whitening that was learnt on other classes."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eml.errors import DataError
from eml.retrieval.arrays import Booleans, Floats, Integers
from eml.retrieval.metrics import summarise
from eml.retrieval.metrics.map_at_r import MapAtR
from eml.retrieval.ranking import rank
from eml.retrieval.within_class import WithinClass

SHRINKAGES = (0.2, 0.5, 0.9)
"""From mostly the covariance within classes to nearly a sphere; MAP@R hardly changes between 0.2 and 0.5."""
USUAL_SHRINKAGE = 0.5
"""It is taken where the training classes are too few to choose by; anything near it does about as well."""


@dataclass(frozen=True)
class LinearStage:
    """MAP@R of each query after whitening that its class had no part in.

    Attributes:
        per_query: (N,) MAP@R; NaN for a query that does not count.
        shrinkages: The shrinkage of each fold, chosen on its training classes.
    """

    per_query: Floats
    shrinkages: tuple[float, ...]


def map_at_r(embeddings: Tensor, labels: Integers) -> Floats:
    """Return (N,) MAP@R of each row among the others; NaN without a positive."""
    try:
        return summarise(rank(embeddings, labels), [MapAtR()]).per_query["map_at_r"]
    except DataError as error:
        if error.code != "no-positives":
            raise
        return np.full(len(labels), np.nan)


def untouched(embeddings: Tensor, labels: Integers, folds: Integers) -> Floats:
    """Return (N,) MAP@R of each row among the rows of its own fold."""
    per_query = np.full(len(labels), np.nan)
    for fold in np.unique(folds):
        rows = np.flatnonzero(folds == fold)
        per_query[rows] = map_at_r(embeddings[rows], labels[rows])
    return per_query


def linear_stage(embeddings: Tensor, labels: Integers, folds: Integers) -> LinearStage:
    """Judge each fold by whitening that is learnt on the others, with a shrinkage that is chosen there too.

    Args:
        embeddings: (N, D) of unit length.
        labels: (N,).
        folds: (N,) of whole classes.
    """
    per_query, shrinkages = np.full(len(labels), np.nan), []
    for fold in np.unique(folds):
        judged = folds == fold
        shrinkage = choose_shrinkage(embeddings[~judged], labels[~judged])
        per_query[judged] = _judge(embeddings, labels, ~judged, judged, (shrinkage,))[0]
        shrinkages.append(shrinkage)
    return LinearStage(per_query, tuple(shrinkages))


def choose_shrinkage(embeddings: Tensor, labels: Integers) -> float:
    """Return the shrinkage that is best where each half of the classes judges what the other half teaches.

    Of equal ones the largest, which changes least. Every second class, by its number, is in one half.
    """
    codes = np.unique(labels, return_inverse=True)[1]
    totals = np.zeros(len(SHRINKAGES))
    for half in (0, 1):
        judged = codes % 2 == half
        if not (_can_teach(labels[~judged]) and _can_judge(labels[judged])):
            return USUAL_SHRINKAGE
        totals += [np.nansum(values) for values in _judge(embeddings, labels, ~judged, judged, SHRINKAGES)]
    best = max(range(len(SHRINKAGES)), key=lambda place: (totals[place], SHRINKAGES[place]))
    return SHRINKAGES[best]


def _judge(
    embeddings: Tensor, labels: Integers, taught: Booleans, judged: Booleans, shrinkages: tuple[float, ...]
) -> list[Floats]:
    """Return MAP@R of the judged rows for each shrinkage of the whitening that the others teach."""
    within = WithinClass.of(embeddings[taught], labels[taught])
    rows = embeddings[judged]
    values = []
    for shrinkage in shrinkages:
        projected = torch.as_tensor(within.projection(shrinkage).transform(rows)).float()
        values.append(map_at_r(projected, labels[judged]))
    return values


def _can_teach(labels: Integers) -> bool:
    """Return whether there is variance within classes: two classes, and one of three images or two of two."""
    counts = np.unique(labels, return_counts=True)[1]
    return len(counts) > 1 and int((counts - 1).sum()) > 1


def _can_judge(labels: Integers) -> bool:
    counts = np.unique(labels, return_counts=True)[1]
    return len(counts) > 1 and int(counts.max()) > 1
