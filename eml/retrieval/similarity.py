"""Similarities of queries to a gallery, tile by tile, so that memory is bounded whatever the gallery."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eml.errors import DataError

TILE, BLOCK = 1024, 1024  # queries, gallery images: 4 MiB of similarities at once in float32
KERNEL = 64  # columns of a product that are surely computed alike: a multiple of what matrix kernels take at once
UNIT = 1e-6  # how far a length may be from 1 to be left as it is


class UnitRows:
    """The rows of a matrix as unit vectors, made when they are asked for. embeddings: (N, D), of any length but 0.

    Raises DataError on NaN, infinite or zero embeddings; name: what to call them there.
    """

    def __init__(self, embeddings: Tensor, name: str, device: torch.device | None = None) -> None:
        if embeddings.ndim != 2:
            raise DataError(f"{name} embeddings must be (N, D), got {tuple(embeddings.shape)}")
        self.embeddings = embeddings
        self.dtype = torch.promote_types(embeddings.dtype, torch.float32)  # half precision holds no unit vector
        self.device = embeddings.device if device is None else device
        parts = [torch.linalg.vector_norm(part.to(self.dtype), dim=1) for part in self.embeddings.split(BLOCK)]
        lengths = torch.cat(parts)
        bad = torch.nonzero(~torch.isfinite(lengths) | (lengths == 0)).flatten().tolist()
        if bad:
            raise DataError(
                f"{len(bad)} of {len(embeddings)} {name} embeddings are NaN, infinite or zero, first: row {bad[0]}"
            )
        are_unit = len(lengths) == 0 or bool((lengths - 1).abs().max() < UNIT)
        self.lengths = None if are_unit else lengths.unsqueeze(1)

    def __len__(self) -> int:
        return len(self.embeddings)

    @property
    def size(self) -> int:
        """D."""
        return self.embeddings.shape[1]

    def __getitem__(self, which: slice | Tensor) -> Tensor:
        """(n, D) unit vectors, on the device; of half precision or whole numbers in float32."""
        part = self.embeddings[which].to(self.dtype)
        return (part if self.lengths is None else part / self.lengths[which]).to(self.device)

    def chosen(self, which: NDArray[np.int64]) -> Tensor:
        """(n, D), by position."""
        return self[torch.from_numpy(which).to(self.embeddings.device)]

    @property
    def width(self) -> int:
        """Of the products that its blocks are part of."""
        return min(BLOCK, max(1, -(-len(self) // KERNEL)) * KERNEL)

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        """Position of the first row, and (BLOCK, D) unit vectors; fewer in the last."""
        for first in range(0, len(self), BLOCK):
            yield first, self[first : first + BLOCK]


def check_sizes(queries: Tensor, gallery: Tensor) -> None:
    """Raises DataError where their embeddings are not of one size."""
    if queries.shape[1:] != gallery.shape[1:]:
        sizes = " and ".join(str(tuple(each.shape)) for each in (queries, gallery))
        raise DataError(f"query and gallery embeddings must be of one size, got {sizes}")


def similarities(tile: Tensor, block: Tensor, into: Tensor) -> None:
    """(T, W) cosines of unit vectors (T, D) and (n, D), −inf in the columns beyond n.

    With the same W, a multiple of KERNEL, equal vectors have equal cosines to the last bit wherever they stand: they go
    through the same kernel.
    """
    beyond = into.shape[1] - len(block)
    if beyond:
        block = torch.cat([block, block.new_zeros(beyond, block.shape[1])])
    torch.mm(tile, block.T, out=into)
    if beyond:
        into[:, -beyond:] = -torch.inf
