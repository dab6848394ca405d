"""Similarities of queries to a gallery, one tile at a time, so that memory is bounded for a gallery of any size."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eml.errors import DataError
from eml.retrieval.arrays import Embeddings, Integers, as_embeddings
from eml.retrieval.device import columns_at_once, device_of, moved, pairs_at_once
from eml.retrieval.products import product

TILE, BLOCK = 1024, 1024  # queries, gallery images: 4 MiB of similarities at once in float32
KERNEL = 64  # a multiple of the columns that matrix kernels compute at once, so that all columns go the same way
UNIT = 1e-6  # vectors whose length is within this of 1 are not divided by it
SHORT = 1e-15  # squares of shorter vectors, and of those beyond 1.8e19, lose bits or leave float32
CLOSE = 0.01  # vectors whose mean cosine is nearer to 1 differ by too few bits of float32
PAIR_ENTRIES = 1 << 22  # similarities of pairs at once: 16 MiB in float32, some 100 MiB with what counting needs


class UnitRows:
    """The rows of a matrix as unit vectors, normalised when they are read.

    They are in the embeddings' precision, at least float32. Where the vectors point to nearly the same place, as those
    of a network that has collapsed, float32 would rank them by rounding: they are in float64 then (`dtype`).

    Args:
        embeddings: (N, D), of any length but 0.
        name: What to call the embeddings in errors.
        device: Where to compute, by default where the embeddings are.

    Raises:
        DataError: The embeddings are not a matrix of real numbers, or some are NaN, infinite or zero.
    """

    def __init__(self, embeddings: Embeddings, name: str, device: torch.device | None = None) -> None:
        embeddings = as_embeddings(embeddings, name)
        self.embeddings = embeddings
        self.dtype = torch.promote_types(embeddings.dtype, torch.float32)  # half precision holds no unit vector
        self.device = embeddings.device if device is None else device
        parts = [torch.linalg.vector_norm(part.to(self.dtype), dim=1) for part in self.embeddings.split(BLOCK)]
        lengths = torch.cat(parts)
        extreme = torch.isinf(lengths) | (lengths < SHORT)
        if extreme.any():
            lengths[extreme] = torch.linalg.vector_norm(embeddings[extreme].double(), dim=1).to(self.dtype)
        bad = torch.nonzero(~torch.isfinite(lengths) | (lengths == 0)).flatten().tolist()
        if bad:
            raise DataError(
                f"{len(bad)} of {len(embeddings)} {name} embeddings are NaN, infinite or zero, first: row {bad[0]}",
                code="invalid-embeddings",
            )
        are_unit = len(lengths) == 0 or bool((lengths - 1).abs().max() < UNIT)
        self.lengths = None if are_unit else lengths.unsqueeze(1)
        if self.dtype == torch.float32 and self._are_close():
            self.dtype = torch.float64

    def _are_close(self) -> bool:
        """Return whether the mean cosine of all pairs is above 1 − CLOSE: ‖mean unit vector‖²."""
        if len(self) < 2:
            return False
        total = sum(part.double().sum(0) for part in self.blocks())
        assert isinstance(total, Tensor)
        return bool((total / len(self)).square().sum() > 1 - CLOSE)

    def __len__(self) -> int:
        return len(self.embeddings)

    @property
    def size(self) -> int:
        """The embedding size D."""
        return self.embeddings.shape[1]

    @property
    def width(self) -> int:
        """The columns of a tile of similarities to these rows: a multiple of KERNEL, bounded for the device."""
        return min(columns_at_once(self.device, BLOCK), max(1, -(-len(self) // KERNEL)) * KERNEL)

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """Return (n, D) unit vectors on the device; those of half precision or integers in float32."""
        return self.exactly(rows) if self.dtype == torch.float64 else self._in_own_precision(rows)

    def _in_own_precision(self, rows: slice | Tensor) -> Tensor:
        part = self.embeddings[rows].to(self.dtype)
        return (part if self.lengths is None else part / self.lengths[rows]).to(self.device)

    def exactly(self, rows: slice | Tensor) -> Tensor:
        """Return (n, D) unit vectors in float64, of the embeddings as they are."""
        rows = rows if isinstance(rows, slice) else rows.to(self.embeddings.device)
        part = self.embeddings[rows].to(self.device).double()
        unit: Tensor = part / torch.linalg.vector_norm(part, dim=1, keepdim=True)
        return unit

    def select(self, positions: Integers) -> Tensor:
        """Return the (n, D) unit vectors at some positions (n,)."""
        return self[torch.tensor(positions, device=self.embeddings.device)]

    def blocks(self) -> Iterator[Tensor]:
        """Yield all unit vectors in order, (BLOCK, D) at a time; the last block may have fewer."""
        for first in range(0, len(self), BLOCK):
            yield self[first : first + BLOCK]

    def tiles(self, queries: Tensor, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the rows (W,) and cosines (T, W) of all rows to queries (T, D), see `similarity_tiles`."""
        for first, tile in similarity_tiles(queries, self, dtype=dtype):
            width = min(tile.shape[1], len(self) - first)
            yield torch.arange(first, first + width, device=queries.device), tile[:, :width]


def check_sizes(queries: Tensor, gallery: Tensor) -> None:
    """Raise DataError unless the embeddings of queries and gallery have the same size D."""
    if queries.shape[1:] != gallery.shape[1:]:
        shapes = f"{tuple(queries.shape)} and {tuple(gallery.shape)}"
        raise DataError(f"query and gallery embeddings must be of one size, got {shapes}", code="wrong-shape")


def unit_rows_alike(queries: Tensor, gallery: Tensor, device: torch.device) -> tuple[UnitRows, UnitRows]:
    """Return the unit vectors of queries (Q, D) and gallery (N, D) in one precision, the finer of the two."""
    queries, gallery = moved(device, queries, gallery)
    rows = UnitRows(queries, "query", device), UnitRows(gallery, "gallery", device)
    rows[0].dtype = rows[1].dtype = torch.promote_types(rows[0].dtype, rows[1].dtype)
    return rows


def unit_length(embeddings: Embeddings) -> Tensor:
    """Return embeddings (N, D) scaled to length 1; the same tensor if they have it.

    Raises:
        DataError: Some embeddings are NaN, infinite or zero.
    """
    return UnitRows(embeddings, "image")[:]


def unit_length_on_device(embeddings: Embeddings) -> Tensor:
    """Return embeddings (N, D) scaled to length 1, on the device that was chosen for retrieval if they fit there.

    Raises:
        DataError: Some embeddings are NaN, infinite or zero.
    """
    embeddings = as_embeddings(embeddings, "image")
    return unit_length(*moved(device_of(embeddings), embeddings))


def similarity_tiles(
    queries: Tensor,
    gallery: UnitRows,
    *,
    positions: Integers | None = None,
    dtype: torch.dtype | None = None,
    columns: int | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Yield the cosines of a few queries to the gallery, block by block.

    Each tile is `gallery.width` wide, and −inf in the columns beyond the last image: products of one width go through
    the same kernel, so equal vectors have equal cosines to the last bit, wherever they stand in the gallery.

    Args:
        queries: (T, D) unit vectors.
        gallery: The images to compare with.
        positions: (n,) positions of the only gallery images to compare with, in this order; by default all in theirs.
        dtype: The precision of the products, by default that of the queries.
        columns: The width of a tile instead of `gallery.width`. The last tile is then narrower instead of padded, and
            equal vectors may differ in the last bit.

    Yields:
        The index of the tile's first column, and (T, W) cosines. The caller may change them in place; the next tile
        may overwrite them.
    """
    dtype = queries.dtype if dtype is None else dtype
    queries, count = queries.to(dtype), len(gallery) if positions is None else len(positions)
    width = gallery.width if columns is None else columns
    tile = queries.new_empty(len(queries), gallery.width) if columns is None else None  # new memory costs page faults
    for first in range(0, count, width):
        rows = slice(first, first + width)
        chosen = rows if positions is None else torch.tensor(positions[rows], device=gallery.embeddings.device)
        block = gallery.exactly(chosen) if dtype == torch.float64 else gallery[chosen].to(dtype)
        if tile is None:
            yield first, product(queries, block)
        else:
            _multiply(queries, block, tile)
            yield first, tile


def _multiply(queries: Tensor, block: Tensor, tile: Tensor) -> None:
    """Write the cosines of queries (T, D) and block (n, D) into tile (T, W), and −inf into the columns beyond n."""
    beyond = tile.shape[1] - len(block)
    if beyond:
        block = torch.cat([block, block.new_zeros(beyond, block.shape[1])])
    product(queries, block, out=tile)
    if beyond:
        tile[:, -beyond:] = -torch.inf


def pair_tiles(unit: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield the cosines of all pairs of rows of unit (N, D), a few rows at a time.

    Yields:
        The index of the tile's first row, and (T, N − first) cosines of T rows to themselves and all rows after the
        first. Strictly above the diagonal every pair occurs once. The caller may change the cosines in place.
    """
    first, total = 0, len(unit)
    while first < total - 1:
        rows = min(max(1, pairs_at_once(unit.device, PAIR_ENTRIES) // (total - first)), total - first)
        yield first, product(unit[first : first + rows], unit[first:])
        first += rows


def pair_similarities(
    embeddings: Embeddings, first: Integers, second: Integers, chunk: int = 1 << 16
) -> NDArray[np.float32]:
    """Return the cosines of listed pairs of images.

    Args:
        embeddings: (N, D), of any length but 0.
        first: (P,) positions of the pairs' first images.
        second: (P,) positions of the pairs' second images.
        chunk: Pairs computed at once.

    Returns:
        (P,) float32 cosines.

    Raises:
        DataError: Some embeddings are NaN, infinite or zero.
    """
    unit = unit_length(embeddings)
    parts = [
        (unit[first[start : start + chunk]] * unit[second[start : start + chunk]]).sum(1)
        for start in range(0, len(first), chunk)
    ]
    return torch.cat(parts).float().cpu().numpy() if parts else np.zeros(0, np.float32)
