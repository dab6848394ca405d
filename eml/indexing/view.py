"""The segments of one generation, as the gallery of a search and as tiles of embeddings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eml.indexing.segment_files import Segment
from eml.retrieval.products import few_products, product

TILE_ROWS = 16_384  # embeddings that `tiles` yields at once
ENTRIES = 1 << 22  # cosines at once: 16 MiB in float32
WIDEST = 65_536
FULL_WIDTH = 1024  # columns of the products in float64: always as many, so that equal vectors have equal cosines
FEW = 0.5  # share of the rows of a tile from which on all are multiplied and the others left out

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class IndexView:
    """The segments of a generation, without the rows that have been removed.

    Attributes:
        segments: By id.
        alive: For each segment (rows,) whether the image is in the index; None where all are.
    """

    segments: tuple[Segment, ...]
    alive: tuple[NDArray[np.bool_] | None, ...]

    def __len__(self) -> int:
        counts = zip(self.segments, self.alive, strict=True)
        return sum(segment.record.rows if alive is None else int(alive.sum()) for segment, alive in counts)

    def only(self, ids: Ids) -> "IndexView":
        """Return a view of some images, whose ids ascend."""
        masks: list[NDArray[np.bool_] | None] = []
        for segment, alive in zip(self.segments, self.alive, strict=True):
            part = ids[np.searchsorted(ids, segment.record.first) : np.searchsorted(ids, segment.record.last, "right")]
            mask = np.zeros(segment.record.rows, bool)
            if len(part):
                numbers = segment.checked_ids()
                places = np.minimum(np.searchsorted(numbers, part), len(numbers) - 1)
                mask[places[numbers[places] == part]] = True
            masks.append(mask if alive is None else mask & alive)
        return IndexView(self.segments, tuple(masks))

    def ids(self) -> Ids:
        """Return the ids of the images, ascending."""
        parts = [
            segment.checked_ids() if alive is None else segment.checked_ids()[alive]
            for segment, alive in zip(self.segments, self.alive, strict=True)
        ]
        return np.concatenate([np.zeros(0, np.int64), *parts])

    def tiles(self, after: int = 0) -> Iterator[tuple[Ids, Tensor]]:
        """Yield ids (G,) and unit vectors (G, D) in float32 of the images whose ids are above `after`, by id."""
        for segment, alive in zip(self.segments, self.alive, strict=True):
            if segment.record.last <= after:
                continue
            numbers = segment.checked_ids()
            begin = int(np.searchsorted(numbers, after, "right"))
            for first in range(begin, segment.record.rows, TILE_ROWS):
                last = min(first + TILE_ROWS, segment.record.rows)
                rows = np.arange(first, last)
                if alive is not None:
                    rows = rows[alive[first:last]]
                if len(rows):
                    whole = len(rows) == last - first
                    yield numbers[rows], _unit(_vectors(segment, slice(first, last) if whole else rows))


class ViewGallery:
    """The images of a view as the gallery of a search; a row is a place in all segments, removed images included."""

    def __init__(self, view: IndexView, size: int) -> None:
        self.view, self._size = view, size
        self._length = len(view)
        self._offsets = np.cumsum([0, *(segment.record.rows for segment in view.segments)])

    @property
    def size(self) -> int:
        """The embedding size D."""
        return self._size

    def __len__(self) -> int:
        return self._length

    def ids_of(self, rows: NDArray[np.int64]) -> Ids:
        """Return the ids of rows of any shape; −1 stays."""
        output = np.full(rows.shape, -1, np.int64)
        for place, segment in self._groups(rows):
            output[place] = segment.checked_ids()[rows[place] - self._offsets[self._number(segment)]]
        return output

    def exactly(self, rows: Tensor) -> Tensor:
        """Return the (n, D) unit vectors of some rows in float64; for row −1 a vector of zeros."""
        numbers = rows.numpy()
        output = torch.zeros(len(numbers), self._size, dtype=torch.float64)
        for place, segment in self._groups(numbers):
            local = numbers[place] - self._offsets[self._number(segment)]
            output[torch.from_numpy(place)] = _vectors(segment, local).double()
        lengths = torch.linalg.vector_norm(output, dim=1, keepdim=True)
        return output / torch.where(lengths == 0, 1.0, lengths)

    def tiles(self, queries: Tensor, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield rows (W,) and the cosines (T, W) of queries (T, D) to them, −inf for images that are left out."""
        if dtype == torch.float64:
            yield from self._full_tiles(queries)
            return
        queries = queries.to(dtype)
        width = min(WIDEST, max(FULL_WIDTH, ENTRIES // len(queries)))
        for segment, alive, offset in zip(self.view.segments, self.view.alive, self._offsets, strict=False):
            for first in range(0, segment.record.rows, width):
                last = min(first + width, segment.record.rows)
                part = None if alive is None else alive[first:last]
                count = last - first if part is None else int(part.sum())
                if not count:
                    continue
                if part is None or count == last - first:
                    yield torch.arange(first + offset, last + offset), _cosines(queries, segment, slice(first, last))
                elif count >= FEW * (last - first):
                    tile = _cosines(queries, segment, slice(first, last))
                    tile[:, torch.from_numpy(~part)] = -torch.inf
                    yield torch.arange(first + offset, last + offset), tile
                else:
                    rows = np.flatnonzero(part) + first
                    yield torch.from_numpy(rows) + offset, _cosines(queries, segment, rows)

    def _full_tiles(self, queries: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        queries = queries.double()
        for first in range(0, len(self), FULL_WIDTH):
            rows = torch.from_numpy(self._rows[first : first + FULL_WIDTH])
            block = torch.zeros(FULL_WIDTH, self._size, dtype=torch.float64)
            block[: len(rows)] = self.exactly(rows)
            yield rows, product(queries, block)[:, : len(rows)]

    @cached_property
    def _rows(self) -> NDArray[np.int64]:
        """All rows that can be neighbours, ascending."""
        parts = [
            (np.arange(segment.record.rows) if alive is None else np.flatnonzero(alive)) + offset
            for segment, alive, offset in zip(self.view.segments, self.view.alive, self._offsets, strict=False)
        ]
        return np.concatenate(parts).astype(np.int64)

    def _groups(self, rows: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.bool_], Segment]]:
        """Yield each segment that holds some of the rows, and where these are."""
        numbers = np.searchsorted(self._offsets, rows, "right") - 1
        for number in np.unique(numbers).tolist():
            if number >= 0:
                yield numbers == number, self.view.segments[number]

    def _number(self, segment: Segment) -> int:
        return self._numbers[segment.record.name]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {segment.record.name: number for number, segment in enumerate(self.view.segments)}


def _vectors(segment: Segment, rows: slice | NDArray[np.int64]) -> Tensor:
    """Return rows of a segment as they are stored, checked when they are read for the first time."""
    if isinstance(rows, slice):
        segment.check(rows.start, rows.stop)
    else:
        segment.check_rows(rows)
    return torch.from_numpy(segment.vectors[rows])


def _unit(vectors: Tensor) -> Tensor:
    """Return vectors in float32, of length 1 also where float16 has rounded them."""
    if vectors.dtype == torch.float32:
        return vectors
    exact = vectors.float()
    unit: Tensor = exact / torch.linalg.vector_norm(exact, dim=1, keepdim=True)
    return unit


def _cosines(queries: Tensor, segment: Segment, rows: slice | NDArray[np.int64]) -> Tensor:
    return few_products(queries, _unit(_vectors(segment, rows)))


def alive_rows(segments: Sequence[Segment], removed: Ids) -> tuple[NDArray[np.bool_] | None, ...]:
    """Return for each segment which of its rows have not been removed; None where all are there."""
    masks: list[NDArray[np.bool_] | None] = []
    for segment in segments:
        record = segment.record
        part = removed[np.searchsorted(removed, record.first) : np.searchsorted(removed, record.last, "right")]
        if len(part):
            masks.append(~np.isin(segment.checked_ids(), part))
        else:
            masks.append(None)
    return tuple(masks)
