"""Embeddings of a table's images: the one way, on any number of processes."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import torch
import torch.distributed as dist
from torch import Tensor

from eml.dataset.table import Table
from eml.distributed.processes import SINGLE_PROCESS, Processes
from eml.distributed.sharded_network import is_sharded
from eml.images.loading import ImageDataset, InOrder, batches
from eml.images.source import ImageSource
from eml.inference.any_model import AnyModel
from eml.inference.images import table_images
from eml.inference.model import Model

Stored = Callable[[AnyModel, Table, pd.DataFrame], Tensor | None]
"""(model, table, rows) → embeddings (N, D) that were computed before; None where these were not."""


@dataclass(frozen=True)
class Batching:
    """The batches of images, and the processes that share them.

    Attributes:
        batch_size: The number of images that a process computes at once.
        workers: The number of worker processes that load images, for each process; 0 loads them in the process itself.
        processes: The processes that share the batches. All of them call the function that embeds.
        stored: Embeddings of tables that were computed before.
    """

    batch_size: int = 64
    workers: int = 0
    processes: Processes = SINGLE_PROCESS
    stored: Stored | None = None


def embed_table(
    model: AnyModel,
    table: Table,
    frame: pd.DataFrame,
    *,
    batching: Batching | None = None,
    source: ImageSource | None = None,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Return embeddings of unit length, (N, D) float32 on the CPU, of rows of a table.

    They are the same to the bit for any number of processes. Only the first process has them.

    Args:
        model: The model.
        table: The table, which knows the folder of the images.
        frame: Its rows to embed, in order.
        batching: Batch size, workers and processes.
        source: An image cache of these rows; by default images are read from their files.
        progress: Called after each round of one batch per process with the number of images in it.

    Raises:
        DataError: An image cannot be read.
    """
    batching = batching or Batching()
    if batching.stored is not None and (embeddings := batching.stored(model, table, frame)) is not None:
        if progress is not None:
            progress(len(frame))
        return embeddings
    images = table_images(table, frame, model.preprocess, source=source)
    return _embed(model, images, batching, progress)


def _embed(model: AnyModel, images: ImageDataset, batching: Batching, progress: Callable[[int], None] | None) -> Tensor:
    processes, batch_size = batching.processes, batching.batch_size
    total, world = len(images), processes.world
    own_batches = batches(images, InOrder(total, batch_size, rank=processes.rank, world=world), batching.workers)
    embeddings = torch.empty(-(-total // batch_size) * batch_size, model.size)
    for first in range(0, total, batch_size * world):
        part = torch.zeros(batch_size, model.size)
        if first + processes.rank * batch_size < total:
            pixels, _ = next(own_batches)
            part[: len(pixels)] = model.embed_pixels(pixels)
        elif isinstance(model, Model) and is_sharded(model.embedder):
            _call_on_nothing(model)
        stop = min(total, first + batch_size * world)
        for number, rows in enumerate(gather_parts(part, processes)):
            target = embeddings[first + number * batch_size : first + (number + 1) * batch_size]
            target.copy_(rows[: len(target)])
        if progress is not None:
            progress(stop - first)
    return embeddings[:total]


def _call_on_nothing(model: Model) -> None:
    """Call a network whose weights are sharded, since the other processes call it and need this one's weights."""
    model.embed_pixels(torch.zeros(1, 3, *model.preprocess.shape, dtype=torch.uint8))


def gather_parts(part: Tensor, processes: Processes) -> list[Tensor]:
    """Return the parts of all processes in the first one, and none in the others."""
    if processes.world == 1:
        return [part]
    parts = [torch.empty_like(part) for _ in range(processes.world)] if processes.first else None
    dist.gather(part, parts)
    return parts or []
