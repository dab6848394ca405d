"""The nearest images of a view: the engine of `eml.retrieval.search`, over segments on disk."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from eml.errors import ConfigError, DataError
from eml.indexing.engines.base import Graph
from eml.indexing.graphs import graph_search
from eml.indexing.view import IndexView, ViewGallery
from eml.retrieval.arrays import Embeddings, as_embeddings
from eml.retrieval.search import CandidateSearch, nearest_by, second_search, select_in_tiles
from eml.retrieval.similarity import UnitRows


@dataclass(frozen=True)
class StoredNeighbours:
    """The nearest images of Q queries in an index, best first.

    Attributes:
        ids: (Q, k) ids of images, −1 where there are fewer.
        cosines: (Q, k) float32, −inf there.
    """

    ids: NDArray[np.int64]
    cosines: NDArray[np.float32]


def query_rows(queries: Embeddings, size: int) -> UnitRows:
    """Return queries (Q, D) as unit vectors. Raises DataError if they are of another size, NaN, infinite or zero."""
    rows = as_embeddings(queries, "query").cpu()
    if rows.shape[1] != size:
        text = f"the index has embeddings of {size:,} numbers, got queries {tuple(rows.shape)}"
        raise DataError(text, code="wrong-shape")
    return UnitRows(rows, "query")


def check_count(k: object) -> None:
    """Raise a ConfigError unless k is a number of neighbours."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise ConfigError(f"k must be a whole number of neighbours, 1 or more, got {k!r}", code="out-of-range")


def search_view(
    view: IndexView, queries: UnitRows, k: int, graphs: Sequence[Graph | None] | None = None
) -> StoredNeighbours:
    """Return the k images of the highest cosine for each query, equal ones by id.

    Args:
        view: The images.
        queries: The Q queries.
        k: Neighbours of each.
        graphs: Of each segment, or None. They propose the images that are compared, and may miss some; where they
            propose fewer than k, all images are compared.
    """
    gallery = ViewGallery(view, queries.size)
    count = min(len(gallery), k + max(8, k // 8) + 1)
    bound = (queries.size + 2) * torch.finfo(torch.float32).eps  # of a sum of D products, and of both unit vectors
    searches = [
        CandidateSearch(select_in_tiles(gallery, torch.float32), count, bound),
        second_search(gallery, k),
    ]
    if graphs is not None:
        searches.insert(0, graph_search(gallery, graphs, k))
    answer = nearest_by(searches, queries, gallery, k)
    return StoredNeighbours(gallery.ids_of(answer.indices), answer.similarities)
