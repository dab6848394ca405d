"""Rankings after query expansion, database augmentation or re-ranking, with the signature of `rank`."""

from collections.abc import Iterator

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from eml.retrieval.added_scores import AddedScores, ScoresOfQueries
from eml.retrieval.arrays import Embeddings, Integers, Labels
from eml.retrieval.ranking import Ranking, rank
from eml.retrieval.reranking.database_augmentation import AugmentedDatabase
from eml.retrieval.reranking.k_reciprocal import DISTANCE_WEIGHT, K1, ReciprocalGallery
from eml.retrieval.reranking.query_expansion import expand_queries
from eml.retrieval.reranking.weighted_means import ALPHA, cosine_weights, weighted_means
from eml.retrieval.search import Neighbours, nearest
from eml.retrieval.similarity import TILE, UnitRows, similarity_tiles


def rank_expanded(
    queries: Embeddings,
    query_labels: Labels,
    gallery: Embeddings,
    gallery_labels: Labels,
    *,
    itself: Integers,
    query_groups: Labels | None = None,
    gallery_groups: Labels | None = None,
    augment: int = 0,
    expand: int = 0,
    alpha: float = ALPHA,
) -> Iterator[Ranking]:
    """Rank after database augmentation, then α-query expansion.

    Args:
        queries: As for `rank`.
        query_labels: As for `rank`.
        gallery: As for `rank`.
        gallery_labels: As for `rank`.
        itself: As for `rank`. A query's own image takes part in nothing that its answers are compared by.
        query_groups: As for `rank`.
        gallery_groups: As for `rank`. Images that are left out of the ranking still take part in the means, since
            which ones they are depends on the labels.
        augment: Neighbours that each gallery image is averaged with; 0 for none.
        expand: Neighbours that each query is averaged with; 0 for none.
        alpha: The exponent of the weights.
    """
    database = AugmentedDatabase(gallery, augment, itself, alpha) if augment else None
    if expand and database is None:
        queries = expand_queries(queries, gallery, nearest(queries, gallery, expand, itself=itself), alpha=alpha)
    elif expand and database is not None:
        queries = _expand_in(database, queries, expand, alpha)
    return rank(
        queries,
        query_labels,
        gallery if database is None else database.embeddings,
        gallery_labels,
        itself=itself,
        query_groups=query_groups,
        gallery_groups=gallery_groups,
        added=None if database is None else database.corrections(UnitRows(queries, "query")[:]),
    )


def _expand_in(database: AugmentedDatabase, queries: Embeddings, expand: int, alpha: float) -> Tensor:
    """Return the queries (Q, D) expanded with their nearest augmented images, as these are without the query."""
    unit = UnitRows(queries, "query")[:]
    added = database.corrections(unit)
    if added is None:
        return expand_queries(queries, database.embeddings, nearest(queries, database.embeddings, expand), alpha=alpha)
    neighbours = nearest_by_scores(unit, database.embeddings, expand, database.itself, added)
    weights = cosine_weights(neighbours.similarities.astype(np.float64), alpha)
    rows = UnitRows(database.embeddings, "gallery")
    expanded = torch.empty(len(unit), rows.size, device=unit.device)
    for first in range(0, len(unit), TILE):
        batch = np.arange(first, min(first + TILE, len(unit)))
        indices = neighbours.indices[batch]
        # Of neighbours that are averaged with the query's own image, the difference to their embedding without it.
        position, images = database.pairs(batch)
        place = (indices[position] == images[:, None]) & (indices[position] >= 0)
        pair, column = np.nonzero(place)
        without = database.without(images[pair], database.itself[batch[position[pair]]])
        change = (without - database.embeddings[torch.from_numpy(images[pair])]).double()
        factor = torch.from_numpy(weights[batch[position[pair]], column]).to(unit.device)
        own = unit[first : first + TILE].double()
        own = own.index_add(0, torch.from_numpy(position[pair]).to(unit.device), change * factor.unsqueeze(1))
        expanded[first : first + TILE] = weighted_means(own, rows, indices, weights[batch])
    return expanded


def nearest_by_scores(
    queries: Tensor, gallery: Embeddings, k: int, itself: Integers, added: ScoresOfQueries
) -> Neighbours:
    """Return the k gallery images of the highest cosine plus what is added to it, best first.

    Args:
        queries: (Q, D) unit vectors.
        gallery: (N, D).
        k: Neighbours of each query.
        itself: (Q,) gallery index of the query's own image, which is left out; −1 for none.
        added: As for `rank`.
    """
    rows, device = UnitRows(gallery, "gallery"), queries.device
    indices = np.full((len(queries), k), -1)
    values = np.full((len(queries), k), -np.inf, np.float32)
    for first in range(0, len(queries), TILE):
        batch = np.arange(first, min(first + TILE, len(queries)))
        scores, own = AddedScores(added(batch)), torch.from_numpy(itself[batch]).to(device)
        best = torch.empty(len(batch), 0, device=device)
        places = torch.empty(len(batch), 0, dtype=torch.int64, device=device)
        for start, tile in similarity_tiles(queries[first : first + TILE], rows):
            scores.add_to(tile, start)
            tile[torch.arange(start, start + tile.shape[1], device=device) == own.unsqueeze(1)] = -torch.inf
            highest, columns = tile.topk(min(k, tile.shape[1]), dim=1)
            best, places = torch.cat([best, highest.float()], 1), torch.cat([places, columns + start], 1)
            best, order = best.sort(dim=1, descending=True, stable=True)
            best, places = best[:, :k], places.gather(1, order)[:, :k]
        count = best.shape[1]
        values[batch, :count] = best.cpu().numpy()
        indices[batch, :count] = torch.where(best == -torch.inf, -1, places).cpu().numpy()
    return Neighbours(indices, values)


def rank_reciprocal(
    queries: Embeddings,
    query_labels: Labels,
    gallery: Embeddings,
    gallery_labels: Labels,
    *,
    itself: Integers,
    query_groups: Labels | None = None,
    gallery_groups: Labels | None = None,
    k1: int = K1,
    k2: int | None = None,
    distance_weight: float = DISTANCE_WEIGHT,
) -> Iterator[Ranking]:
    """Rank by the k-reciprocal distance of Zhong 2017, see `ReciprocalGallery`.

    Args:
        queries: As for `rank`.
        query_labels: As for `rank`.
        gallery: As for `rank`.
        gallery_labels: As for `rank`.
        itself: As for `rank`.
        query_groups: As for `rank`.
        gallery_groups: As for `rank`. Images that are left out of the ranking still take part in the sets.
        k1: Length of the lists of neighbours.
        k2: Images of the mean over the neighbours' sets; by default 0.3 k1, as in the paper.
        distance_weight: λ.
    """
    lists = nearest(gallery, gallery, k1, itself=np.arange(len(gallery)))
    k2 = max(1, round(0.3 * k1)) if k2 is None else k2
    sets = ReciprocalGallery(gallery, lists, k2=k2, distance_weight=distance_weight)
    is_leave_one_out = queries is gallery and np.array_equal(itself, np.arange(len(gallery)))
    own_lists = lists if is_leave_one_out else nearest(queries, gallery, k1, itself=itself)
    unit = UnitRows(queries, "query")

    def added(batch: Integers) -> sparse.csr_array:
        part = Neighbours(own_lists.indices[batch], own_lists.similarities[batch])
        scores = sets.jaccard(unit.exactly(torch.from_numpy(batch)), part, itself[batch])
        return scores * np.float32(sets.factor)

    return rank(
        queries,
        query_labels,
        gallery,
        gallery_labels,
        itself=itself,
        query_groups=query_groups,
        gallery_groups=gallery_groups,
        added=added,
    )
