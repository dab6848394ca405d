"""Graphs of faiss (HNSW), which hold the embeddings in float16."""

from typing import Any

import numpy as np

from eml.indexing.engines.base import CONNECTIVITY, EXPANSION_BUILD, EXPANSION_SEARCH, GraphEngine, Rows, Vectors


class FaissEngine(GraphEngine):
    """The engine `faiss`."""

    name, package = "faiss", "faiss"
    settings = GraphEngine.settings | {"dtype": "f16"}

    def build(self, vectors: Vectors, threads: int) -> bytes | bytearray:
        """Return a graph over the rows of vectors (N, D) of unit length, as the bytes of a file."""
        faiss: Any = self.library()
        quantizer = faiss.ScalarQuantizer.QT_fp16
        index = faiss.IndexHNSWSQ(vectors.shape[1], quantizer, CONNECTIVITY, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = EXPANSION_BUILD
        rows = np.ascontiguousarray(vectors)
        with _Threads(faiss, threads):
            index.train(rows)
            index.add(rows)
        data: bytes = faiss.serialize_index(index).tobytes()
        return data

    def open(self, data: memoryview) -> "FaissGraph":
        """Return the graph of bytes that `build` has made; they are trusted, so check them before."""
        faiss: Any = self.library()
        return FaissGraph(faiss, faiss.deserialize_index(np.frombuffer(data, np.uint8)))


class FaissGraph:
    """A graph that faiss holds in memory."""

    def __init__(self, faiss: Any, index: Any) -> None:
        self.faiss, self.index = faiss, index

    def search(self, queries: Vectors, count: int, threads: int) -> tuple[Vectors, Rows]:
        """Return about the `count` most similar rows of the segment for each query, best first."""
        parameters = self.faiss.SearchParametersHNSW(efSearch=max(EXPANSION_SEARCH, 2 * count))
        with _Threads(self.faiss, threads):
            cosines, rows = self.index.search(np.ascontiguousarray(queries), count, params=parameters)
        cosines[rows < 0] = -np.inf
        return cosines, rows


class _Threads:
    """The number of threads that faiss uses in a block; it is one setting of the whole process."""

    def __init__(self, faiss: Any, threads: int) -> None:
        self.faiss, self.threads = faiss, threads

    def __enter__(self) -> None:
        self.before = self.faiss.omp_get_max_threads()
        self.faiss.omp_set_num_threads(self.threads)

    def __exit__(self, *_: object) -> None:
        self.faiss.omp_set_num_threads(self.before)
