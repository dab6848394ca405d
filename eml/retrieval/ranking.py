"""Exact cosine search in tiles of queries; keeps only what the metrics need: the ranks of each query's partners."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eml.errors import DataError

TILE_ENTRIES = 1 << 24
"""Similarities held at once: 64 MiB in float32, about 300 MiB with what sorting needs."""


@dataclass(frozen=True)
class Ranking:
    """Where a query's partners (gallery pictures of its class, itself excluded) stand among its neighbours.

    partners: (Q,) how many each query has. ranks: 1-based ranks of all partners, ascending within a query, one query
    after the other, (sum of partners,). gallery_size: how many neighbours a query has at most.
    Ranks are by descending cosine; equal cosines are ranked by gallery index.
    """

    partners: NDArray[np.int64]
    ranks: NDArray[np.int64]
    gallery_size: int

    @property
    def query_of_rank(self) -> NDArray[np.int64]:
        """(sum of partners,) the query that each rank belongs to."""
        return np.repeat(np.arange(len(self.partners)), self.partners)

    @property
    def order_of_rank(self) -> NDArray[np.int64]:
        """(sum of partners,) 1 for a query's best-ranked partner, 2 for the next, …"""
        starts = np.cumsum(self.partners) - self.partners
        return np.arange(len(self.ranks)) - np.repeat(starts, self.partners) + 1


def rank(
    queries: Tensor,
    query_labels: NDArray[np.int64],
    gallery: Tensor | None = None,
    gallery_labels: NDArray[np.int64] | None = None,
    *,
    itself: NDArray[np.int64] | None = None,
) -> Ranking:
    """Rank all of the gallery for each query by cosine, exactly, in the embeddings' precision.

    queries: (Q, D), gallery: (N, D), of any length; labels as integers. Without a gallery the queries are their own
    (leave-one-out). itself: (Q,) the gallery index that is the query's own picture and is left out, −1 for none;
    exclusion is by this index, never by distance, so that copies of a picture stay findable.
    Queries without a partner stay in with partners = 0; metrics leave them out and say how many.
    Raises DataError on NaN, infinite or zero embeddings.
    """
    if gallery is None or gallery_labels is None:
        gallery, gallery_labels, itself = queries, query_labels, np.arange(len(queries))
    if itself is None:
        itself = np.full(len(queries), -1)
    queries, gallery = _unit(queries, "query"), _unit(gallery, "gallery")
    tiles = list(_ranks(queries, query_labels, gallery, gallery_labels, itself))
    partners = np.concatenate([counts for counts, _ in tiles]) if tiles else np.zeros(0, np.int64)
    ranks = np.concatenate([found for _, found in tiles]) if tiles else np.zeros(0, np.int64)
    return Ranking(partners, ranks, len(gallery) - int((itself >= 0).any()))


def _ranks(
    queries: Tensor,
    query_labels: NDArray[np.int64],
    gallery: Tensor,
    gallery_labels: NDArray[np.int64],
    itself: NDArray[np.int64],
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Per tile: partners (T,) and their ranks, flat."""
    wanted = torch.from_numpy(gallery_labels).to(gallery.device)
    for first in range(0, len(queries), max(1, TILE_ENTRIES // max(1, len(gallery)))):
        tile = slice(first, first + max(1, TILE_ENTRIES // max(1, len(gallery))))
        similarity = queries[tile] @ gallery.T  # (T, N)
        own = torch.from_numpy(itself[tile]).to(gallery.device)
        rows = torch.nonzero(own >= 0).squeeze(1)
        similarity[rows, own[rows]] = -torch.inf  # last, and no partner of itself
        order = similarity.argsort(dim=1, descending=True, stable=True)
        labels = torch.from_numpy(query_labels[tile]).to(gallery.device)
        hits = wanted[order] == labels.unsqueeze(1)
        hits[rows, -1] = False  # the query itself, sorted last
        yield hits.sum(1).cpu().numpy(), (torch.nonzero(hits)[:, 1] + 1).cpu().numpy()


def _unit(embeddings: Tensor, name: str) -> Tensor:
    length = torch.linalg.vector_norm(embeddings, dim=1, keepdim=True)
    bad = torch.nonzero(~torch.isfinite(length) | (length == 0)).tolist()
    if bad:
        raise DataError(
            f"{len(bad)} of {len(embeddings)} {name} embeddings are NaN, infinite or zero, first: row {bad[0][0]}"
        )
    unit: Tensor = embeddings / length
    return unit
