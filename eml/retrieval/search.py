"""The k nearest gallery images of each query: exact, by whichever engine makes the first choice.

An engine chooses more images than are wanted, by similarities that may be rounded. These are compared anew in
float64; where what was not chosen could still belong to the nearest, products in float64 choose again, and more. So
every engine gives the same neighbours in the same order, equal similarities by gallery index, also where a network maps
all images to nearly the same point.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eml.errors import ConfigError
from eml.retrieval.similarity import TILE, UnitRows, check_sizes, similarities

Engine = Literal["exact", "bfloat16", "faiss"]
AS_NEAR = 128  # images that may be nearly as near as the k-th, before all of the gallery is put in order
EXACT = torch.finfo(torch.float64).eps
PAIRS = 1 << 17  # compared in float64 at once: 1 MiB for each value of an embedding

Chooser = Callable[[Tensor, int], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Neighbours:
    """indices: (Q, k) in the gallery, −1 where there are fewer; similarities: (Q, k) float32 cosines, −inf there."""

    indices: NDArray[np.int64]
    similarities: NDArray[np.float32]


def nearest(
    queries: Tensor,
    gallery: Tensor,
    k: int,
    *,
    itself: NDArray[np.int64] | None = None,
    engine: Engine | None = None,
    device: torch.device | None = None,
) -> Neighbours:
    """The k gallery images of the highest cosine, best first, for each query.

    queries: (Q, D), gallery: (N, D), of any length. itself: (Q,) the gallery index that is the query's own image and
    is left out, −1 for none. engine: what chooses before the comparison in float64: exact (products in the embeddings'
    precision, in tiles), bfloat16 (by default on a GPU) or faiss (its flat index; needs the package faiss-cpu or
    faiss-gpu). device: where to compute, by default where the gallery is.
    Raises DataError on NaN, infinite or zero embeddings, ConfigError without faiss.
    """
    check_sizes(queries, gallery)
    asking, asked = UnitRows(queries, "query", device), UnitRows(gallery, "gallery", device)
    itself = np.full(len(queries), -1) if itself is None else itself
    engine = engine or ("bfloat16" if asked.device.type == "cuda" else "exact")
    wanted = min(k, len(gallery))
    choices = [_first_choice(engine, asked, queries.dtype, k), _second_choice(asked, k)]
    indices = np.full((len(queries), k), -1)
    values = np.full((len(queries), k), -np.inf, np.float32)
    if not wanted:
        return Neighbours(indices, values)
    for first in range(0, len(queries), TILE):
        part = slice(first, first + TILE)
        found = _nearest(asking[part], asked, torch.from_numpy(itself[part]).to(asked.device), wanted, choices)
        indices[part, :wanted], values[part, :wanted] = found
    return Neighbours(indices, values)


@dataclass(frozen=True)
class Choice:
    """The `count` images of the highest similarity, by similarities that may be off by `bound`."""

    choose: Chooser
    count: int
    bound: float


def _first_choice(engine: Engine, asked: UnitRows, dtype: torch.dtype, k: int) -> Choice:
    full = torch.promote_types(dtype, torch.float32) if engine == "exact" else torch.float32
    bound = asked.size * torch.finfo(full).eps  # of a sum of D products
    count = min(len(asked), k + max(8, k // 8) + 1)
    match engine:
        case "exact":
            return Choice(_in_tiles(asked, full), count, bound)
        case "faiss":
            return Choice(_faiss(asked), count, bound)
        case "bfloat16":
            bound += torch.finfo(torch.bfloat16).eps  # of the factors
            return Choice(_in_tiles(asked, torch.bfloat16), min(len(asked), 4 * k + 64), bound)


def _second_choice(asked: UnitRows, k: int) -> Choice:
    """For queries with many neighbours that are nearly as near."""
    return Choice(_in_tiles(asked, torch.float64), min(len(asked), k + AS_NEAR), asked.size * EXACT)


def _nearest(
    tile: Tensor, asked: UnitRows, itself: Tensor, k: int, choices: Sequence[Choice]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(T, k) indices and similarities of the nearest, by the first choice that is surely complete, query by query."""
    values = torch.empty(len(tile), k, dtype=torch.float64, device=tile.device)
    indices = torch.empty(len(tile), k, dtype=torch.int64, device=tile.device)
    rest = torch.arange(len(tile), device=tile.device)
    for choice in choices:
        about, chosen = choice.choose(tile[rest], choice.count)
        values[rest], indices[rest] = _compared(tile[rest], asked, chosen, itself[rest], k)
        if choice.count == len(asked):
            break
        rest = rest[values[rest, -1] <= about[:, -1].double() + choice.bound]  # of what was not chosen none is above
        if not len(rest):
            break
    else:
        values[rest], indices[rest] = _ordered(tile[rest], asked, itself[rest], k)
    indices[values == -torch.inf] = -1
    return indices.cpu().numpy(), values.float().cpu().numpy()


def _ordered(tile: Tensor, asked: UnitRows, itself: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(T, k) float64 cosines and indices of the nearest of all of the gallery, equal ones by index; −inf for itself.

    For queries with more than AS_NEAR images that are as near as the k-th to within rounding: copies, as a rule.
    """
    values = torch.empty(len(tile), 0, dtype=torch.float64, device=tile.device)
    indices = torch.empty(len(tile), 0, dtype=torch.int64, device=tile.device)
    found = torch.empty(len(tile), asked.width, dtype=torch.float64, device=tile.device)
    for first, block in asked.blocks():
        similarities(tile.double(), block.double(), found)
        places = torch.arange(first, first + asked.width, device=tile.device)
        found[places == itself.unsqueeze(1)] = -torch.inf
        both = torch.cat([values, found], 1)
        where = torch.cat([indices, places.expand(len(tile), -1)], 1)
        both, order = both.sort(dim=1, descending=True, stable=True)
        values, indices = both[:, :k], where.gather(1, order[:, :k])
    return values, indices


def _compared(tile: Tensor, asked: UnitRows, chosen: Tensor, itself: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(T, k) float64 cosines and indices of the best of the chosen (T, n), equal ones by index; −inf for itself."""
    values = torch.empty(chosen.shape, dtype=torch.float64, device=tile.device)
    ordered = chosen.sort(1)[0]
    for rows in torch.arange(len(tile), device=tile.device).split(max(1, PAIRS // chosen.shape[1])):
        for columns in torch.arange(chosen.shape[1], device=tile.device).split(PAIRS):
            there = ordered[rows][:, columns]
            vectors = asked[there.flatten().to(asked.embeddings.device)].double().view(*there.shape, asked.size)
            values[rows[:, None], columns] = (vectors * tile[rows].double().unsqueeze(1)).sum(2)
    values[ordered == itself.unsqueeze(1)] = -torch.inf
    values, order = values.sort(dim=1, descending=True, stable=True)
    return values[:, :k], ordered.gather(1, order)[:, :k]


def _in_tiles(asked: UnitRows, precision: torch.dtype) -> Chooser:
    """By products of that precision; running top k over blocks of the gallery."""

    def choose(tile: Tensor, count: int) -> tuple[Tensor, Tensor]:
        values = torch.full((len(tile), 0), -torch.inf, device=tile.device, dtype=precision)
        indices = torch.zeros(len(tile), 0, dtype=torch.int64, device=tile.device)
        found = torch.empty(len(tile), asked.width, dtype=precision, device=tile.device)
        for first, block in asked.blocks():
            similarities(tile.to(precision), block.to(precision), found)
            best, places = found.topk(min(count, len(block)), dim=1)
            values, indices = torch.cat([values, best], 1), torch.cat([indices, places + first], 1)
            values, order = values.topk(min(count, values.shape[1]), dim=1)
            indices = indices.gather(1, order)
        return values, indices

    return choose


def _faiss(asked: UnitRows) -> Chooser:
    try:
        import faiss
    except ImportError as error:
        raise ConfigError(
            "engine 'faiss' needs the faiss package: pip install 'easy-metric-learning[faiss]'"
        ) from error
    index = faiss.IndexFlatIP(asked.size)
    for _, block in asked.blocks():
        index.add(np.ascontiguousarray(block.float().cpu().numpy()))

    def choose(tile: Tensor, count: int) -> tuple[Tensor, Tensor]:
        values, indices = index.search(np.ascontiguousarray(tile.float().cpu().numpy()), count)
        return torch.from_numpy(values).to(tile.device), torch.from_numpy(indices).to(tile.device)

    return choose
