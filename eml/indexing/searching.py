"""The nearest images of queries, with labels, probabilities and places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eml.indexing.answers import NearImage, QueryAnswer, SearchAnswers
from eml.indexing.rows import IndexRows, rows_of
from eml.indexing.where import Condition, parse_where

if TYPE_CHECKING:
    from torch import Tensor

    from eml.indexing.index_reader import SearchEngine
    from eml.indexing.queries import Queries
    from eml.indexing.store import IndexStore
    from eml.retrieval.answer_calibration import AnswerCalibration
    from eml.retrieval.arrays import Floats

Ids = NDArray[np.int64]
Cosines = NDArray[np.float32]
AT_ONCE = 256
"""Queries that are searched at once."""


def find_neighbours(
    store: IndexStore,
    queries: Queries,
    k: int,
    *,
    per_class: bool = False,
    where: str | None = None,
    engine: SearchEngine = "exact",
    calibration: AnswerCalibration | None = None,
    query_expansion: int | None = None,
) -> SearchAnswers:
    """Return the neighbours of each query. Queries that could not be read have none, and say why.

    Args:
        store: The index.
        queries: The queries, images or texts; of texts the probabilities are not known, since the calibration is about
            two images.
        k: Neighbours of each.
        per_class: Whether only the nearest image of each class is given.
        where: A condition on the images.
        engine: The search's engine.
        calibration: The map to probabilities; None: they are not known.
        query_expansion: Images that each query is averaged with before it is searched; the probabilities are not known
            then, since the calibration is about plain cosines.
    """
    condition = condition_of(store, where)
    if queries.are_texts:
        calibration = None
    answers: list[tuple[NearImage, ...]] = []
    for first in range(0, len(queries.embeddings), AT_ONCE):
        part = queries.embeddings[first : first + AT_ONCE]
        if query_expansion is not None:
            part, calibration = expand_in(store, part, query_expansion, condition, engine), None
        if per_class:
            ids, cosines = nearest_of_classes(store, part, k, condition, engine)
        else:
            neighbours = store.search(part, k, where=condition, engine=engine)
            ids, cosines = neighbours.ids, neighbours.cosines
        answers += _near_images(store, ids, cosines, calibration)
    by_row = dict(zip(queries.rows, answers, strict=True))
    return SearchAnswers(
        tuple(
            QueryAnswer(
                name, by_row.get(row, ()), queries.problems.get(row, ""), queries.places[row], queries.are_texts
            )
            for row, name in enumerate(queries.names)
        )
    )


def condition_of(store: IndexStore, where: str | None) -> Condition | None:
    """Return a condition on the columns of an index.

    Raises:
        ConfigError: It cannot be understood, with the place.
    """
    return None if where is None else parse_where(where, store.columns)


def expand_in(
    store: IndexStore, queries: Tensor, count: int, condition: Condition | None, engine: SearchEngine
) -> Tensor:
    """Return queries (Q, D) averaged with their `count` nearest images, weighted by the cosine: α-query expansion."""
    import torch

    from eml.retrieval.reranking import expand_queries
    from eml.retrieval.search import Neighbours

    near = store.search(queries, count, where=condition, engine=engine)
    ids = np.unique(near.ids[near.ids >= 0])
    if not len(ids):
        return queries
    indices = np.where(near.ids < 0, -1, np.searchsorted(ids, near.ids))
    return expand_queries(queries, torch.from_numpy(store.embeddings(ids)), Neighbours(indices, near.cosines))


def nearest_of_classes(
    store: IndexStore, queries: Tensor, k: int, condition: Condition | None, engine: SearchEngine
) -> tuple[Ids, Cosines]:
    """Return (Q, k) ids and cosines of the nearest image of each of the k nearest classes, −1 where there are fewer.

    More and more neighbours are taken until they are of enough classes; images without a label are of none.
    """
    ids, cosines = np.full((len(queries), k), -1), np.full((len(queries), k), -np.inf, np.float32)
    open_rows, count = np.arange(len(queries)), 4 * k
    while len(open_rows):
        count = min(count, len(store))
        near = store.search(queries[open_rows], count, where=condition, engine=engine)
        labels = store.labels(near.ids.ravel())
        still = []
        for place, row in enumerate(open_rows.tolist()):
            own = labels[place * count : (place + 1) * count].tolist()
            chosen = _first_of_each(own, k)
            ids[row, : len(chosen)] = near.ids[place, chosen]
            cosines[row, : len(chosen)] = near.cosines[place, chosen]
            if len(chosen) < k and count < len(store) and near.ids[place, -1] >= 0:
                still.append(row)
        open_rows, count = np.array(still, np.int64), count * 8
    return ids, cosines


def _first_of_each(labels: Sequence[str], k: int) -> list[int]:
    """Return the position of the first image of each of the first k classes."""
    places: dict[str, int] = {}
    for position, label in enumerate(labels):
        if label and label not in places:
            places[label] = position
            if len(places) == k:
                break
    return list(places.values())


def _near_images(
    store: IndexStore, ids: Ids, cosines: Cosines, calibration: AnswerCalibration | None
) -> list[tuple[NearImage, ...]]:
    rows = rows_of(store, np.unique(ids[ids >= 0]))
    known = None if calibration is None else calibration.pair_probability(cosines.astype(np.float64))
    return [
        tuple(
            _near_image(rows, rank, int(id_), float(cosines[query, rank - 1]), _at(known, query, rank))
            for rank, id_ in enumerate(ids[query].tolist(), 1)
            if id_ >= 0
        )
        for query in range(len(ids))
    ]


def _at(values: Floats | None, query: int, rank: int) -> float | None:
    return None if values is None else float(values[query, rank - 1])


def _near_image(rows: IndexRows, rank: int, id_: int, cosine: float, probability: float | None) -> NearImage:
    row = rows[id_]
    return NearImage(rank, row.label, cosine, probability, row.file_name, id_, row.place)
