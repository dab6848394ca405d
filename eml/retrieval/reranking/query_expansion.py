"""α-query expansion: a query is replaced by a weighted mean of itself and its nearest gallery images."""

import numpy as np
from torch import Tensor

from eml.retrieval.arrays import Embeddings
from eml.retrieval.reranking.weighted_means import ALPHA, cosine_weights, weighted_means
from eml.retrieval.search import Neighbours
from eml.retrieval.similarity import UnitRows


def expand_queries(queries: Embeddings, gallery: Embeddings, neighbours: Neighbours, *, alpha: float = ALPHA) -> Tensor:
    """q′ = (q + Σᵢ max(q·xᵢ, 0)^α xᵢ) / ‖…‖, over the n nearest images xᵢ. Radenović 2018, arXiv:1711.02512 (αQE).

    Args:
        queries: (Q, D) embeddings, of any length but 0.
        gallery: (N, D) embeddings, of any length but 0.
        neighbours: The n nearest gallery images of each query, as `eml.retrieval.search.nearest` finds them.
        alpha: The exponent; 0 weights all neighbours alike (average query expansion, Chum 2007).

    Returns:
        (Q, D) float32 unit vectors, to search with again.
    """
    query_rows, gallery_rows = UnitRows(queries, "query"), UnitRows(gallery, "gallery")
    weights = cosine_weights(neighbours.similarities.astype(np.float64), alpha)
    return weighted_means(query_rows.exactly(slice(None)), gallery_rows, neighbours.indices, weights)
