"""A gallery in small parts whose images are ordered by class."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eml.errors import DataError
from eml.retrieval.arrays import Embeddings, Integers, as_embeddings, as_positions
from eml.retrieval.similarity import UnitRows

ROWS = 8192
"""Images at once: 32 MiB of cosines with 1,024 queries."""


@dataclass(frozen=True)
class ClassTile:
    """Some images of a gallery, ordered by class.

    Attributes:
        embeddings: (G, D) unit vectors.
        rows: (G,) rows of the images in the whole gallery, ascending within a class.
        codes: (S,) the classes of the images, ascending.
        starts: (S,) where each class begins.
        counts: (S,) images of each class.
    """

    embeddings: Tensor
    rows: Integers
    codes: Integers
    starts: Integers
    counts: Integers

    def exactly(self, part: slice) -> Tensor:
        """Return the (n, D) unit vectors of a part in float64."""
        vectors = self.embeddings[part].double()
        unit: Tensor = vectors / torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
        return unit


def class_tiles(tiles: Iterable[tuple[Embeddings, Integers]], num_classes: int, size: int) -> Iterator[ClassTile]:
    """Yield the images that have a class, at most `ROWS` at once.

    Args:
        tiles: Embeddings (G, D) and classes (G,), −1 for none.
        num_classes: C.
        size: D.

    Raises:
        DataError: Embeddings are NaN, infinite, zero or of another size, or classes are not −1…C−1.
    """
    before = 0
    for values, labels in tiles:
        embeddings = as_embeddings(values, "gallery")
        codes = as_positions(labels, "classes of the gallery", num_classes)
        _check(embeddings, codes, size)
        for first in range(0, len(codes), ROWS):
            part = slice(first, first + ROWS)
            if (codes[part] >= 0).any():
                yield _ordered(embeddings[part], codes[part], before + first)
        before += len(codes)


def _check(embeddings: Tensor, codes: Integers, size: int) -> None:
    if len(embeddings) != len(codes):
        text = f"{len(embeddings):,} embeddings of the gallery and {len(codes):,} classes"
        raise DataError(text, code="wrong-shape")
    if embeddings.shape[1] != size:
        text = f"query and gallery embeddings must be of one size, got {size} and {embeddings.shape[1]}"
        raise DataError(text, code="wrong-shape")


def _ordered(embeddings: Tensor, codes: Integers, first: int) -> ClassTile:
    unit = UnitRows(embeddings, "gallery")
    order = np.argsort(codes, kind="stable")
    order = order[codes[order] >= 0]
    classes, starts, counts = np.unique(codes[order], return_index=True, return_counts=True)
    straight = len(order) == len(codes) and bool((order[1:] > order[:-1]).all())
    vectors = unit[:] if straight else unit.select(order)
    return ClassTile(vectors, first + order, classes, starts.astype(np.int64), counts.astype(np.int64))
