"""Graphs over the embeddings of a segment, which find most of the nearest images without comparing all."""

from abc import ABC, abstractmethod
from importlib import import_module
from importlib.metadata import version
from types import ModuleType
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from eml.errors import ConfigError

CONNECTIVITY = 16  # neighbours of each image in a graph
EXPANSION_BUILD = 128  # images compared with each new one
EXPANSION_SEARCH = 128  # images that a search keeps in sight, at least; twice as many as are wanted

Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]


class Graph(Protocol):
    """A graph over the rows of a segment, ready to be searched."""

    def search(self, queries: Vectors, count: int, threads: int) -> tuple[Vectors, Rows]:
        """Return about the `count` most similar rows of the segment for each query, best first.

        Args:
            queries: (Q, D) unit vectors.
            count: At most the rows of the segment.
            threads: Threads to use.

        Returns:
            (Q, count) cosines, rounded, and rows; −inf and −1 where fewer were found.
        """


class GraphEngine(ABC):
    """A package that builds and searches graphs. Its settings are part of the files, so that a change rebuilds them."""

    name: ClassVar[str]
    package: ClassVar[str]
    """The name of the package to import."""
    settings: ClassVar[dict[str, str | int]] = {"connectivity": CONNECTIVITY, "expansion": EXPANSION_BUILD}

    @abstractmethod
    def build(self, vectors: Vectors, threads: int) -> bytes | bytearray:
        """Return a graph over the rows of vectors (N, D) of unit length, as the bytes of a file."""

    @abstractmethod
    def open(self, data: memoryview) -> Graph:
        """Return the graph of bytes that `build` has made; they are trusted, so check them before."""

    def library(self) -> ModuleType:
        """Import the package.

        Raises:
            ConfigError: It is not installed; the text says what to install.
        """
        try:
            return import_module(self.package)
        except ImportError as error:
            text = (
                f"engine '{self.name}' needs the {self.name} package: pip install 'easy-metric-learning[{self.name}]'"
            )
            raise ConfigError(text, code="missing-package", parameter="engine") from error

    def library_version(self) -> str:
        """Return the version of the package: a graph of another one is built again."""
        library = self.library()
        known = getattr(library, "__version__", None)
        return str(known or version(self.package))
