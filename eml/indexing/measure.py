"""Measure what an engine or a storage costs in recall and gains in time, on the embeddings of an index itself."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray

from eml.indexing.graphs import ENGINES, ApproximateEngine
from eml.indexing.index_reader import IndexReader, SearchEngine

QUERIES, K = 100, 10
EQUAL = 1e-6  # cosines that differ by less are those of images that are equally near


@dataclass(frozen=True)
class EngineMeasure:
    """An engine beside exact search, for embeddings of the index as queries, each without its own image.

    Attributes:
        engine: Its name.
        queries: Number of queries.
        k: Neighbours of each.
        recall: Mean share of the k nearest images that it finds. An image as near as the k-th counts as one of them.
        milliseconds: Median time of a search with one query.
        exact_milliseconds: The same for exact search.
        first_seconds: Time of its first search, which opens the graphs, or builds those that are missing.
    """

    engine: str
    queries: int
    k: int
    recall: float
    milliseconds: float
    exact_milliseconds: float
    first_seconds: float


def installed_engines() -> list[ApproximateEngine]:
    """Return the engines whose packages are installed."""
    return [name for name, engine in ENGINES.items() if find_spec(engine.package)]


def measure_engines(
    store: IndexReader, engines: Sequence[ApproximateEngine] | None = None, *, queries: int = QUERIES, k: int = K
) -> list[EngineMeasure]:
    """Measure engines beside exact search, by default all that are installed.

    Args:
        store: The index. Graphs that it lacks are built.
        engines: The engines.
        queries: Number of stored embeddings to search with, evenly spread over the images.
        k: Neighbours of each.
    """
    ids, embeddings = _sample(store, queries)
    if not len(ids):
        return []
    store.search(embeddings[:1], k + 1)  # reads the embeddings for the first time
    exact_times, exact = _timed(store, embeddings, k + 1, "exact")
    exact_cosines = np.stack([_without(*row, number, k)[1] for row, number in zip(exact, ids, strict=True)])
    measures = []
    for engine in installed_engines() if engines is None else engines:
        began = time.perf_counter()
        store.search(embeddings[:1], k + 1, engine=engine)
        first = time.perf_counter() - began
        times, answers = _timed(store, embeddings, k + 1, engine)
        cosines = np.stack([_without(*row, number, k)[1] for row, number in zip(answers, ids, strict=True)])
        recall = recall_by_cosine(exact_cosines, cosines)
        measures.append(EngineMeasure(engine, len(ids), k, recall, _median(times), _median(exact_times), first))
    return measures


def measure_float16(store: IndexReader, *, queries: int = QUERIES, k: int = K) -> float | None:
    """Return the mean share of the k nearest images that an index with `storage="float16"` finds of the same images.

    None where the index stores float16 itself, or has no images: what was rounded off is not known any more.
    """
    ids, embeddings = _sample(store, queries)
    if store.storage == "float16" or not len(ids):
        return None
    rows, own = torch.from_numpy(embeddings), torch.from_numpy(ids)
    exact, rounded = torch.empty(len(ids), 0), torch.empty(len(ids), 0)
    chosen = torch.empty(len(ids), 0)  # the exact cosines of those that the rounded ones choose
    for numbers, tile in store.tiles():
        half = torch.nn.functional.normalize(tile.half().float())
        cosines, approximate = rows @ tile.T, rows @ half.T
        is_own = torch.from_numpy(numbers) == own.unsqueeze(1)
        cosines, approximate = (part.masked_fill(is_own, -torch.inf) for part in (cosines, approximate))
        exact = torch.cat([exact, cosines], 1).topk(min(k, exact.shape[1] + cosines.shape[1]), dim=1).values
        rounded, chosen = torch.cat([rounded, approximate], 1), torch.cat([chosen, cosines], 1)
        rounded, order = rounded.topk(min(k, rounded.shape[1]), dim=1)
        chosen = chosen.gather(1, order)
    return recall_by_cosine(exact.numpy(), chosen.numpy())


def recall_by_cosine(exact: NDArray[np.float32], answers: NDArray[np.float32]) -> float:
    """Return the mean share of the nearest images that answers have, by the cosines (Q, k) of both.

    The answers' need no order. −inf means that there is no such image.
    """
    counts = np.isfinite(exact).sum(1)
    last = np.where(np.isfinite(exact), exact, np.inf).min(1, initial=np.inf)
    hits = ((answers >= last[:, None] - EQUAL) & np.isfinite(answers)).sum(1)
    shares = np.minimum(hits, counts)[counts > 0] / counts[counts > 0]
    return float(shares.mean()) if len(shares) else 1.0


def _sample(store: IndexReader, count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return ids and embeddings of images that are evenly spread over the index."""
    ids = store.ids()
    chosen = ids[np.unique(np.linspace(0, len(ids) - 1, min(count, len(ids))).astype(np.int64))]
    return chosen, store.embeddings(chosen)


def _timed(
    store: IndexReader, embeddings: NDArray[np.float32], k: int, engine: SearchEngine
) -> tuple[list[float], list[tuple[NDArray[np.int64], NDArray[np.float32]]]]:
    """Return the milliseconds of each query, searched alone, and the ids and cosines of its neighbours."""
    times, answers = [], []
    for row in range(len(embeddings)):
        began = time.perf_counter()
        neighbours = store.search(embeddings[row : row + 1], k, engine=engine)
        times.append(1000 * (time.perf_counter() - began))
        answers.append((neighbours.ids[0], neighbours.cosines[0]))
    return times, answers


def _without(
    ids: NDArray[np.int64], cosines: NDArray[np.float32], own: int, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the k nearest neighbours without the query's own image, which may be missing among many copies."""
    others = ids != own
    return ids[others][:k], cosines[others][:k]


def _median(values: list[float]) -> float:
    return float(np.median(values))
