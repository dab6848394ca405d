"""Graphs of usearch (HNSW), which hold the embeddings in float16."""

from typing import Any

import numpy as np

from eml.indexing.engines.base import CONNECTIVITY, EXPANSION_BUILD, EXPANSION_SEARCH, GraphEngine, Rows, Vectors


class UsearchEngine(GraphEngine):
    """The engine `usearch`."""

    name, package = "usearch", "usearch"
    settings = GraphEngine.settings | {"dtype": "f16"}

    def build(self, vectors: Vectors, threads: int) -> bytes | bytearray:
        """Return a graph over the rows of vectors (N, D) of unit length, as the bytes of a file."""
        index = self._index(ndim=vectors.shape[1])
        index.add(np.arange(len(vectors), dtype=np.uint64), np.ascontiguousarray(vectors), threads=threads)
        data: bytes | bytearray = index.save()
        return data

    def open(self, data: memoryview) -> "UsearchGraph":
        """Return the graph of bytes that `build` has made; they are trusted, so check them before."""
        index = self._index(ndim=1)
        index.load(data)
        return UsearchGraph(index)

    def _index(self, ndim: int) -> Any:
        self.library()
        from usearch.index import Index

        return Index(
            ndim=ndim, metric="ip", dtype="f16", connectivity=CONNECTIVITY, expansion_add=EXPANSION_BUILD, multi=False
        )


class UsearchGraph:
    """A graph that usearch holds in memory."""

    def __init__(self, index: Any) -> None:
        self.index = index

    def search(self, queries: Vectors, count: int, threads: int) -> tuple[Vectors, Rows]:
        """Return about the `count` most similar rows of the segment for each query, best first."""
        self.index.expansion_search = max(EXPANSION_SEARCH, 2 * count)
        matches = self.index.search(np.ascontiguousarray(queries), count, threads=threads)
        single = len(queries) == 1  # usearch returns one row without its places for more
        counts = [len(matches.keys)] if single else matches.counts
        cosines = np.full((len(queries), count), -np.inf, np.float32)
        rows = np.full((len(queries), count), -1)
        width = np.arange(count) < np.asarray(counts)[:, None]
        keys, distances = np.atleast_2d(matches.keys), np.atleast_2d(matches.distances)
        rows[width] = keys[:, :count][width[:, : keys.shape[1]]]
        cosines[width] = 1 - distances[:, :count][width[:, : keys.shape[1]]]
        return cosines, rows
