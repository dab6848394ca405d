"""The device that retrieval computes on: where the embeddings are, or a GPU to which they are moved in parts."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor

LEAST = 2 << 30  # bytes that a GPU must have free, else retrieval stays on the CPU: tiles and counts take up to 1.5 GiB
SHARE = 4  # embeddings stay on a GPU as a whole if they take at most one in so many of its free bytes


@dataclass(frozen=True)
class TileSizes:
    """The sizes of what a GPU compares at once, which bound its memory; kernels run longer than they take to start.

    Attributes:
        queries: Queries.
        columns: Gallery images.
        pairs: Cosines of pairs of images.
    """

    queries: int = 4096
    columns: int = 8192
    pairs: int = 1 << 25


GPU = TileSizes()  # 128 MiB of similarities in float32

_chosen: ContextVar[torch.device | None] = ContextVar("retrieval_device", default=None)


@contextmanager
def computing_on(device: torch.device) -> Iterator[None]:
    """Let retrieval compute on a device if that is a GPU, wherever the embeddings are.

    It holds for `rank`, `nearest`, the counts of pairs and the search of an open set, in this thread. Their results are
    those of the CPU, but for rounding.
    """
    token = _chosen.set(device if device.type == "cuda" else None)
    try:
        yield
    finally:
        _chosen.reset(token)


def device_of(embeddings: Tensor) -> torch.device:
    """Return where to compute with embeddings: on a GPU that was chosen and has memory free, else where they are."""
    device = _chosen.get()
    if device is None or embeddings.device.type != "cpu" or free_memory(device) < LEAST:
        return embeddings.device
    return device


def moved(device: torch.device, *embeddings: Tensor) -> tuple[Tensor, ...]:
    """Return embeddings on a GPU if they take only a part of its memory, else as they are: they are moved in parts."""
    distinct = {(values.data_ptr(), values.shape, values.stride()): values for values in embeddings}
    elsewhere = any(values.device.type != "cpu" for values in distinct.values())
    size = sum(values.nbytes for values in distinct.values())
    if device.type != "cuda" or elsewhere or SHARE * size > free_memory(device):
        return embeddings
    copies = {key: values.to(device) for key, values in distinct.items()}
    return tuple(copies[values.data_ptr(), values.shape, values.stride()] for values in embeddings)


def free_memory(device: torch.device) -> int:
    """Return the bytes that a GPU has free, with those that torch keeps of what was freed."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + kept


def queries_at_once(device: torch.device, on_cpu: int) -> int:
    """Return how many queries to compare at once on a device."""
    return GPU.queries if device.type == "cuda" else on_cpu


def columns_at_once(device: torch.device, on_cpu: int) -> int:
    """Return how many gallery images to compare at once on a device."""
    return GPU.columns if device.type == "cuda" else on_cpu


def pairs_at_once(device: torch.device, on_cpu: int) -> int:
    """Return how many pairs of images to compare at once on a device."""
    return GPU.pairs if device.type == "cuda" else on_cpu
