"""The k nearest gallery images of each query: exact, with any engine.

An engine selects more candidates than are needed, by similarities that may be rounded. The candidates are compared
again in float64. Where an image that was not selected could still be among the nearest, products in float64 select
again, and more. So every engine gives the same neighbours in the same order, with equal similarities by gallery index,
even for a network that maps all images to nearly the same point.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eml.errors import ConfigError, DataError
from eml.retrieval.arrays import Embeddings, Integers, Labels, as_embeddings, as_positions
from eml.retrieval.best_entries import BestEntries
from eml.retrieval.device import device_of, moved, queries_at_once
from eml.retrieval.similarity import TILE, UnitRows, check_sizes

Engine = Literal["exact", "bfloat16", "faiss"]
AS_NEAR = 128  # images that may be nearly as near as the k-th, before the whole gallery is sorted
EXACT = torch.finfo(torch.float64).eps
FEW = 8  # queries, up to which a tile is searched for what can be among the nearest, before it is sorted
PAIRS = 1 << 17  # compared in float64 at once: 1 MiB for each value of an embedding

Selector = Callable[[Tensor, int], tuple[Tensor, Tensor]]
"""(T, D) queries, n → (T, n) similarities and gallery indices of the n most similar images, descending."""


@dataclass(frozen=True)
class Neighbours:
    """The nearest gallery images of Q queries, best first.

    Attributes:
        indices: (Q, k) gallery indices, −1 where the gallery has fewer images.
        similarities: (Q, k) float32 cosines, −inf there.
    """

    indices: Integers
    similarities: NDArray[np.float32]


class Gallery(Protocol):
    """The images that a search compares with; the rows of UnitRows, or of an index on disk."""

    @property
    def size(self) -> int:
        """The embedding size D."""

    def __len__(self) -> int:
        """Return the number of images that can be neighbours."""

    def exactly(self, rows: Tensor) -> Tensor:
        """Return the (n, D) unit vectors of some rows in float64; of row −1 any."""

    def tiles(self, queries: Tensor, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield rows (W,), ascending, and the cosines (T, W) of queries (T, D) to them, −inf for none.

        The caller may change the cosines in place; the next tile may overwrite them. In float64, equal vectors have
        equal cosines to the last bit.
        """


@dataclass(frozen=True)
class CandidateSearch:
    """A search for the `count` most similar images, by similarities that may be off by `bound`."""

    select: Selector
    count: int
    bound: float


def nearest(
    queries: Embeddings,
    gallery: Embeddings,
    k: int,
    *,
    itself: Labels | None = None,
    engine: Engine | None = None,
    device: torch.device | None = None,
) -> Neighbours:
    """Find the k gallery images of the highest cosine for each query.

    Args:
        queries: (Q, D) embeddings, of any length but 0.
        gallery: (N, D) embeddings, of any length but 0.
        k: Neighbours of each query.
        itself: (Q,) gallery index of the query's own image, which is left out; −1 for none.
        engine: What selects the candidates: `exact` (products in the embeddings' precision, in tiles), `bfloat16` (the
            default on a GPU) or `faiss` (its flat index; needs the package faiss-cpu or faiss-gpu).
        device: Where to compute, by default where the gallery is, or as `computing_on` says.

    Returns:
        The same neighbours with every engine.

    Raises:
        DataError: Embeddings are NaN, infinite, zero or of two sizes, or the positions of own images do not fit them.
        ConfigError: k is below 0, or the engine is unknown, or faiss, which is not installed.
    """
    queries, gallery = as_embeddings(queries, "query"), as_embeddings(gallery, "gallery")
    _check_search(k, engine)
    check_sizes(queries, gallery)
    device = device_of(gallery) if device is None else device
    queries, gallery = moved(device, queries, gallery)
    query_rows, gallery_rows = UnitRows(queries, "query", device), UnitRows(gallery, "gallery", device)
    itself = (
        np.full(len(queries), -1) if itself is None else as_positions(itself, "positions of own images", len(gallery))
    )
    if len(itself) != len(queries):
        raise DataError(f"{len(queries):,} queries and {len(itself):,} positions of own images", code="wrong-shape")
    engine = engine or ("bfloat16" if gallery_rows.device.type == "cuda" else "exact")
    searches = [_first_search(engine, gallery_rows, queries.dtype, k), second_search(gallery_rows, k)]
    return nearest_by(searches, query_rows, gallery_rows, k, itself)


def nearest_by(
    searches: Sequence[CandidateSearch], queries: UnitRows, gallery: Gallery, k: int, itself: Integers | None = None
) -> Neighbours:
    """Find the k images of the gallery of the highest cosine for each query, among candidates of several searches.

    Args:
        searches: Searches for candidates, from the fastest to the most exact.
        queries: The Q queries.
        gallery: The images to compare with.
        k: Neighbours of each query.
        itself: (Q,) row of the query's own image, which is left out; −1 for none.
    """
    indices = np.full((len(queries), k), -1)
    values = np.full((len(queries), k), -np.inf, np.float32)
    count = min(k, len(gallery))
    if not count:
        return Neighbours(indices, values)
    itself = np.full(len(queries), -1) if itself is None else itself
    step = queries_at_once(queries.device, TILE)
    for first in range(0, len(queries), step):
        part = slice(first, first + step)
        own = torch.from_numpy(itself[part]).to(queries.device)
        indices[part, :count], values[part, :count] = _nearest(queries.exactly(part), gallery, own, count, searches)
    return Neighbours(indices, values)


def _check_search(k: int, engine: str | None) -> None:
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 0:
        raise ConfigError(f"k must be a whole number of neighbours, 0 or more, got {k!r}", code="out-of-range")
    if engine is not None and engine not in get_args(Engine):
        text = f"unknown engine {engine!r}; there are: {', '.join(get_args(Engine))}"
        raise ConfigError(text, code="unknown-choice", parameter="engine")


def _first_search(engine: Engine, gallery: UnitRows, dtype: torch.dtype, k: int) -> CandidateSearch:
    full = torch.promote_types(dtype, torch.float32) if engine == "exact" else torch.float32
    bound = (gallery.size + 2) * torch.finfo(full).eps  # of a sum of D products, and of both unit vectors
    count = min(len(gallery), k + max(8, k // 8) + 1)
    match engine:
        case "exact":
            return CandidateSearch(select_in_tiles(gallery, full), count, bound)
        case "faiss":
            return CandidateSearch(_select_by_faiss(gallery), count, bound)
        case "bfloat16":
            rounding = torch.finfo(torch.bfloat16).eps / 2  # of each factor and of the result, relative
            bound = (1 + rounding) ** 3 * (1 + bound) - 1
            return CandidateSearch(select_in_tiles(gallery, torch.bfloat16), min(len(gallery), 4 * k + 64), bound)


def second_search(gallery: Gallery, k: int) -> CandidateSearch:
    """Return the search for queries with many neighbours that are nearly as near."""
    count = min(len(gallery), k + AS_NEAR)
    return CandidateSearch(select_in_tiles(gallery, torch.float64), count, (gallery.size + 2) * EXACT)


def _nearest(
    queries: Tensor, gallery: Gallery, itself: Tensor, k: int, searches: Sequence[CandidateSearch]
) -> tuple[Integers, NDArray[np.float32]]:
    """Return (T, k) indices and similarities, for each query by the first search that is certainly complete."""
    values = torch.empty(len(queries), k, dtype=torch.float64, device=queries.device)
    indices = torch.empty(len(queries), k, dtype=torch.int64, device=queries.device)
    rest = torch.arange(len(queries), device=queries.device)
    for search in searches:
        rounded, candidates = search.select(queries[rest], search.count)
        values[rest], indices[rest] = _compare(queries[rest], gallery, candidates, itself[rest], k)
        if search.count == len(gallery):
            break
        # No image that was not selected is above the last candidate's rounded similarity plus the bound.
        rest = rest[values[rest, -1] <= rounded[:, -1].double() + search.bound]
        if not len(rest):
            break
    else:
        values[rest], indices[rest] = _sort_gallery(queries[rest], gallery, itself[rest], k)
    indices[values == -torch.inf] = -1
    return indices.cpu().numpy(), values.float().cpu().numpy()


def _sort_gallery(queries: Tensor, gallery: Gallery, itself: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return (T, k) float64 cosines and indices of the nearest of the whole gallery, equal ones by index.

    For queries with more than AS_NEAR images that are as near as the k-th to within rounding: usually copies.
    The image `itself` gets −inf.
    """
    values = torch.empty(len(queries), 0, dtype=torch.float64, device=queries.device)
    indices = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
    for places, tile in gallery.tiles(queries, torch.float64):
        tile[places == itself.unsqueeze(1)] = -torch.inf
        values = torch.cat([values, tile], 1)
        indices = torch.cat([indices, places.expand(len(queries), -1)], 1)
        values, order = values.sort(dim=1, descending=True, stable=True)
        values, indices = values[:, :k], indices.gather(1, order[:, :k])
    return values, indices


def _compare(queries: Tensor, gallery: Gallery, candidates: Tensor, itself: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return (T, k) float64 cosines and indices of the best candidates (T, n), equal ones by index.

    The image `itself` gets −inf.
    """
    values = torch.empty(candidates.shape, dtype=torch.float64, device=queries.device)
    ordered = candidates.sort(1)[0]
    for rows in torch.arange(len(queries), device=queries.device).split(max(1, PAIRS // candidates.shape[1])):
        for columns in torch.arange(candidates.shape[1], device=queries.device).split(PAIRS):
            part = ordered[rows][:, columns]
            vectors = gallery.exactly(part.flatten()).view(*part.shape, gallery.size)
            values[rows[:, None], columns] = (vectors * queries[rows].unsqueeze(1)).sum(2)
    values[ordered == itself.unsqueeze(1)] = -torch.inf
    values, order = values.sort(dim=1, descending=True, stable=True)
    return values[:, :k], ordered.gather(1, order)[:, :k]


def select_in_tiles(gallery: Gallery, precision: torch.dtype) -> Selector:
    """Return a selector by products of that precision, which keeps the top n over the tiles of the gallery."""

    def select(queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
        entries = BestEntries(len(queries), count, precision, queries.device)
        for rows, tile in gallery.tiles(queries, precision):
            if len(queries) <= FEW and entries.values.shape[1] == count:
                rows, tile = _above(entries.values[:, -1:], rows, tile)
            entries.add(rows, tile)
        return entries.best()

    return select


def _above(least: Tensor, rows: Tensor, tile: Tensor) -> tuple[Tensor, Tensor]:
    """Return the columns of a tile (T, W) with a value above the least that a query has, least (T, 1), and their rows.

    After the first tiles these are few. To find them is quicker than to sort all, if there are few queries.
    """
    columns = (tile > least).any(0).nonzero().flatten()
    return rows[columns], tile[:, columns]


def _select_by_faiss(gallery: UnitRows) -> Selector:
    try:
        import faiss
    except ImportError as error:
        text = "engine 'faiss' needs the faiss package: pip install 'easy-metric-learning[faiss]'"
        raise ConfigError(text, code="missing-package", parameter="engine") from error
    index = faiss.IndexFlatIP(gallery.size)
    for block in gallery.blocks():
        index.add(np.ascontiguousarray(block.float().cpu().numpy()))

    def select(queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
        values, indices = index.search(np.ascontiguousarray(queries.float().cpu().numpy()), count)
        return torch.from_numpy(values).to(queries.device), torch.from_numpy(indices).to(queries.device)

    return select
