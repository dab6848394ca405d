"""How similar the nearest picture of a query's own class is, and the nearest of another."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eml.reports.evaluation.evaluated import Evaluated, Integers
from eml.retrieval.tiles import Rows

SAMPLE, TILE = 3000, 512  # queries looked at, and at once


@dataclass(frozen=True)
class Nearest:
    """own, other: (Q,) cosine to the nearest picture of the query's class, and of all others; −inf without one."""

    own: NDArray[np.float64]
    other: NDArray[np.float64]


def nearest_own_and_other(evaluation: Evaluated) -> Nearest:
    """Of at most 3,000 queries with a partner, taken at even distances in the table's order; by the protocol."""
    wanted = evaluation.wanted
    counted = wanted.queries[evaluation.summary.answers.has_partner]
    if len(counted) > SAMPLE:
        counted = counted[np.linspace(0, len(counted) - 1, SAMPLE).astype(int)]
    unit = Rows(evaluation.embeddings, "picture")
    parts = [_of_tile(evaluation, unit, counted[first : first + TILE]) for first in range(0, len(counted), TILE)]
    own, other = (torch.cat([part[side] for part in parts]).double().numpy() for side in (0, 1))
    return Nearest(own, other)


def _of_tile(evaluation: Evaluated, unit: Rows, rows: Integers) -> tuple[Tensor, Tensor]:
    wanted = evaluation.wanted
    asking = unit.chosen(rows)
    own, other = (torch.full((len(rows),), -torch.inf, dtype=asking.dtype) for _ in range(2))
    for first in range(0, len(wanted.gallery), 8 * TILE):
        gallery = wanted.gallery[first : first + 8 * TILE]
        similarity = asking @ unit.chosen(gallery).T
        same = wanted.labels[rows][:, None] == wanted.labels[gallery]
        out = rows[:, None] == gallery
        if wanted.within is not None:
            out |= wanted.within[rows][:, None] != wanted.within[gallery]
        if wanted.groups is not None:
            groups = wanted.groups[rows][:, None]
            out |= same & (groups >= 0) & (groups == wanted.groups[gallery])
        similarity[torch.from_numpy(out)] = -torch.inf
        mask = torch.from_numpy(same)
        own = torch.maximum(own, similarity.masked_fill(~mask, -torch.inf).amax(1))
        other = torch.maximum(other, similarity.masked_fill(mask, -torch.inf).amax(1))
    return own, other
