"""Means of embeddings with those of their neighbours, weighted by the cosine: α-weighting of Radenović 2018."""

import numpy as np
import torch
from torch import Tensor

from eml.retrieval.arrays import Floats, Integers
from eml.retrieval.similarity import UnitRows

ALPHA = 3.0
"""The exponent of the cosine in the experiments of Radenović 2018."""
VALUES = 1 << 23  # of neighbours' embeddings held at once: 64 MiB in float64


def weighted_means(own: Tensor, gallery: UnitRows, indices: Integers, weights: Floats) -> Tensor:
    """Return (own + Σ weight · neighbour) / ‖…‖ for each row, (Q, D) float32 on the gallery's device.

    Args:
        own: (Q, D) unit vectors, which have weight 1.
        gallery: The unit vectors of the neighbours.
        indices: (Q, n) gallery indices, −1 for none.
        weights: (Q, n) of the neighbours; those of none do not count.
    """
    means = torch.empty(len(own), gallery.size, device=gallery.device)
    weights = np.where(indices < 0, 0.0, weights)
    step = max(1, VALUES // max(1, indices.shape[1] * gallery.size))
    for first in range(0, len(own), step):
        part = slice(first, first + step)
        rows = torch.from_numpy(np.maximum(indices[part], 0))
        vectors = gallery.exactly(rows.flatten().to(gallery.embeddings.device)).view(*rows.shape, gallery.size)
        factors = torch.from_numpy(weights[part]).to(vectors)
        total = own[part].to(vectors) + torch.einsum("qn,qnd->qd", factors, vectors)
        means[part] = torch.nn.functional.normalize(total).float()
    return means


def cosine_weights(similarities: Floats, alpha: float = ALPHA) -> Floats:
    """Return max(cosine, 0)^α. −inf, of a neighbour that does not exist, gives 0."""
    return np.maximum(np.asarray(similarities, np.float64), 0.0) ** alpha
