"""Exact ranks of each query's positives in the whole gallery, in memory that is bounded for any gallery.

A query is compared with the images of its own class first, or of a list of its own. Their similarities are then
thresholds, and for each threshold the other images above it are counted. So nothing is sorted and no list of neighbours
is kept, and a class of 50,000 images takes no more memory than many small ones.
"""

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eml.errors import DataError
from eml.retrieval.added_scores import AddedScores, ScoresOfQueries
from eml.retrieval.arrays import Booleans, Embeddings, Floats, Integers, Labels, as_embeddings, as_labels, as_positions
from eml.retrieval.device import device_of, queries_at_once
from eml.retrieval.positive_counts import PositiveCounts
from eml.retrieval.positive_lists import ListedImages, PositiveLists, begins_list
from eml.retrieval.similarity import BLOCK, TILE, UnitRows, check_sizes, similarity_tiles, unit_rows_alike

OWN_ENTRIES = 1 << 20  # similarities of queries to images of their class held at once, 4 MiB in float32


@dataclass(frozen=True)
class Ranking:
    """The ranks of the positives of T queries.

    A positive is a gallery image of the query's class that is not the query itself and was not left out. Ranks count
    from 1 by descending cosine; equal cosines are ranked by gallery index.

    Attributes:
        queries: (T,) positions of these queries among all queries.
        positives: (T,) number of positives of each query.
        ranks: (sum of positives,) ranks of all positives, query after query, ascending within each.
        nearest: (T,) gallery index of the nearest image, −1 without any.
        nearest_similarity: (T,) cosine of the nearest image, −inf without any.
        nearest_is_positive: (T,) whether the nearest image is a positive.
        gallery_size: Most images that a query is compared with.
    """

    queries: Integers
    positives: Integers
    ranks: Integers
    nearest: Integers
    nearest_similarity: Floats
    nearest_is_positive: Booleans
    gallery_size: int

    @property
    def query_of_rank(self) -> Integers:
        """(sum of positives,) position in this ranking of the query that each rank belongs to."""
        return np.repeat(np.arange(len(self.positives)), self.positives)

    @property
    def order_of_rank(self) -> Integers:
        """(sum of positives,) 1 for a query's best-ranked positive, 2 for the next, …"""
        starts = np.cumsum(self.positives) - self.positives
        return np.arange(len(self.ranks)) - np.repeat(starts, self.positives) + 1


def rank(
    queries: Embeddings,
    query_labels: Labels,
    gallery: Embeddings | None = None,
    gallery_labels: Labels | None = None,
    *,
    itself: Labels | None = None,
    query_groups: Labels | None = None,
    gallery_groups: Labels | None = None,
    added: ScoresOfQueries | None = None,
    device: torch.device | None = None,
) -> Iterator[Ranking]:
    """Rank the whole gallery for each query by cosine, exactly, in the embeddings' precision, some queries at a time.

    Args:
        queries: (Q, D) embeddings, of any length but 0.
        query_labels: (Q,) integers, or text.
        gallery: (N, D) embeddings; by default the queries themselves (leave-one-out).
        gallery_labels: (N,) of the same kind; needed with a gallery.
        itself: (Q,) gallery index of the query's own image, which is left out; −1 for none. Exclusion goes by this
            index, never by distance, so that copies of an image can be found.
        query_groups: (Q,) a group such as the camera; −1 for none. A gallery image of the query's class and group is
            left out and counts neither as right nor as wrong (Zheng 2015, Market-1501, section 4).
        gallery_groups: (N,) groups of the gallery images; needed with query_groups and a gallery.
        added: Called with the positions (T,) of queries; returns sparse scores (T, N) that are added to their cosines
            before they are ranked, as re-ranking does.
        device: Where to compute, by default where the gallery is, or as `computing_on` says.

    Yields:
        Rankings that together hold every query once. Queries without a positive have `positives` 0; the metrics leave
        them out and report how many there are.

    Raises:
        DataError: Embeddings are NaN, infinite, zero or of two sizes, or labels or groups do not fit their number.
    """
    queries = as_embeddings(queries, "query")
    if gallery is None:
        gallery, gallery_labels, itself = queries, query_labels, np.arange(len(queries))
        gallery_groups = query_groups
    gallery = as_embeddings(gallery, "gallery")
    if gallery_labels is None or (query_groups is None) != (gallery_groups is None):
        raise DataError("a gallery needs labels, and groups where the queries have them", code="missing-labels")
    labels = _numbered("labels", query_labels, gallery_labels)
    groups = None
    if query_groups is not None and gallery_groups is not None:
        groups = _numbered("groups", query_groups, gallery_groups)
    itself = (
        np.full(len(queries), -1) if itself is None else as_positions(itself, "positions of own images", len(gallery))
    )
    _check_lengths("query", len(queries), labels=labels[0], groups=groups and groups[0], itself=itself)
    _check_lengths("gallery", len(gallery), labels=labels[1], groups=groups and groups[1])
    check_sizes(queries, gallery)
    device = device_of(gallery) if device is None else device
    query_rows, gallery_rows = unit_rows_alike(queries, gallery, device)
    lists = PositiveLists.of_classes(*labels)
    return _RankingProblem(query_rows, gallery_rows, lists, itself, groups, added).rankings()


def rank_listed(
    queries: Embeddings,
    gallery: Embeddings,
    listed_queries: Labels,
    listed_images: Labels,
    *,
    device: torch.device | None = None,
) -> Iterator[Ranking]:
    """Rank the whole gallery for each query as `rank` does, where pairs say which images are a query's positives.

    It is for queries of another kind than the gallery, such as texts and images: a text may be of several images, an
    image of several texts, and one text's images of another's too.

    Args:
        queries: (Q, D) embeddings, of any length but 0.
        gallery: (N, D) embeddings.
        listed_queries: (P,) queries of the pairs, in any order. A query without a pair has no positive.
        listed_images: (P,) gallery indices of the pairs. Repeated pairs count once.
        device: Where to compute, by default where the gallery is, or as `computing_on` says.

    Raises:
        DataError: Embeddings are NaN, infinite, zero or of two sizes, or pairs name what is not there.
    """
    queries, gallery = as_embeddings(queries, "query"), as_embeddings(gallery, "gallery")
    check_sizes(queries, gallery)
    pairs = (
        as_positions(listed_queries, "queries of pairs", len(queries)),
        as_positions(listed_images, "images of pairs", len(gallery)),
    )
    if len(pairs[0]) != len(pairs[1]) or any((positions < 0).any() for positions in pairs):
        text = f"{len(pairs[0]):,} queries and {len(pairs[1]):,} images of pairs: each pair needs both, from 0 on"
        raise DataError(text, code="wrong-shape")
    device = device_of(gallery) if device is None else device
    rows = unit_rows_alike(queries, gallery, device)
    lists = PositiveLists.of_pairs(*pairs, len(queries))
    return _RankingProblem(*rows, lists, np.full(len(queries), -1)).rankings()


def _numbered(kind: str, of_queries: Labels, of_gallery: Labels) -> tuple[Integers, Integers]:
    """Return labels or groups of queries (Q,) and gallery (N,) as integers; text is numbered in alphabetical order."""
    queries, gallery = as_labels(of_queries, f"query {kind}"), as_labels(of_gallery, f"gallery {kind}")
    if {queries.dtype.kind, gallery.dtype.kind} != {"U"}:
        if "U" in (queries.dtype.kind, gallery.dtype.kind) and len(queries) and len(gallery):
            raise DataError(f"{kind} of queries and gallery must both be numbers or both be text", code="wrong-type")
        return queries, gallery
    codes = np.unique(np.concatenate([queries, gallery]), return_inverse=True)[1].astype(np.int64)
    return codes[: len(queries)], codes[len(queries) :]


def _check_lengths(name: str, count: int, **arrays: Integers | None) -> None:
    for kind, values in arrays.items():
        if values is not None and len(values) != count:
            text = f"{count:,} {name} embeddings and {len(values):,} {kind}: one for each is needed"
            raise DataError(text, code="wrong-shape")


class _RankingProblem:
    """All queries and the whole gallery, with the lists of images among which each query's positives are."""

    def __init__(
        self,
        queries: UnitRows,
        gallery: UnitRows,
        lists: PositiveLists,
        itself: Integers,
        groups: tuple[Integers, Integers] | None = None,
        added: ScoresOfQueries | None = None,
    ) -> None:
        self.queries, self.gallery, self.lists = queries, gallery, lists
        self.itself, self.groups, self.added = itself, groups, added
        self.order = np.lexsort((lists.starts, lists.sizes))  # queries by the size of their list, then by list
        self.gallery_size = len(gallery) - int((itself >= 0).any())

    def rankings(self) -> Iterator[Ranking]:
        begin = 0
        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            while begin < len(self.order):
                batch = self.order[begin : begin + self._batch_size(begin)]
                begin += len(batch)
                yield self._ranking(batch, threads)

    def _batch_size(self, begin: int) -> int:
        """Return how many queries from `begin` on to rank at once, so that the images in their lists are bounded."""
        batch = self.order[begin : begin + queries_at_once(self.queries.device, TILE)]
        sizes, starts = self.lists.sizes[batch], self.lists.starts[batch]
        rows = np.cumsum(np.where(begins_list(starts, sizes), sizes, 0))  # of the gallery, in their lists
        most = max(4 * BLOCK, len(self.gallery) // 2, sizes[0])  # one list always fits, else it goes query by query
        fits = (np.arange(1, len(batch) + 1) * sizes <= OWN_ENTRIES) & (rows <= most)
        return max(1, int(fits.sum()))

    def _ranking(self, batch: Integers, threads: Executor) -> Ranking:
        queries, groups = self.queries.select(batch), self.groups
        own = ListedImages(
            self.gallery, self.lists, batch, self.itself[batch], groups and (groups[0][batch], groups[1])
        )
        added = None if self.added is None else AddedScores(self.added(batch))
        positives = own.positives(queries, added, threads)
        best = torch.full((len(batch),), -torch.inf, dtype=queries.dtype, device=queries.device)
        nearest = torch.full((len(batch),), -1, device=queries.device)
        for first, tile in similarity_tiles(queries, self.gallery):
            if added is not None:
                added.add_to(tile, first)
            own.leave_out(tile, first)
            positives.count(tile, first)
            _keep_nearest(tile, first, best, nearest)
        return self._finish(batch, positives, nearest, best)

    def _finish(self, batch: Integers, positives: PositiveCounts, nearest: Tensor, best: Tensor) -> Ranking:
        """Return the ranking. nearest, best: (T,) index and similarity of the nearest image that is no positive."""
        most, device = positives.above.shape[1], positives.above.device
        ranks = positives.above + torch.arange(1, most + 1, device=device)
        present = torch.arange(most, device=device) < positives.counts.unsqueeze(1)
        right = torch.zeros_like(nearest, dtype=torch.bool)
        if most:
            right = present[:, 0] & (ranks[:, 0] == 1)
            nearest = torch.where(right, positives.indices[:, 0], nearest)
            best = torch.where(right, positives.similarities[:, 0], best)
        return Ranking(
            batch,
            positives.counts.cpu().numpy(),
            ranks[present].cpu().numpy(),
            nearest.cpu().numpy(),
            best.double().cpu().numpy(),
            right.cpu().numpy(),
            self.gallery_size,
        )


def _keep_nearest(tile: Tensor, first: int, best: Tensor, nearest: Tensor) -> None:
    """Replace, in place, the nearest images (T,) and their similarities (T,) by nearer ones of a tile (T, n)."""
    highest = tile.amax(1)
    if tile.device.type != "cpu":  # to ask which queries have a nearer one would wait for the device
        nearest.copy_(torch.where(highest > best, tile.argmax(1) + first, nearest))
        best.copy_(torch.maximum(best, highest))
        return
    better = torch.nonzero(highest > best).squeeze(1)
    if len(better):
        best[better] = highest[better]
        nearest[better] = tile[better].argmax(1) + first
