"""The images of a validation embedded by several processes, a batch each in turn."""

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor

from eml.distributed.processes import Processes
from eml.distributed.sharded_network import is_sharded
from eml.images.loading import ImageDataset, InOrder
from eml.inference.model import Model


def embed_together(
    model: Model,
    images: ImageDataset,
    processes: Processes,
    *,
    batch_size: int,
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """(N, D) as `Model.embed_rows` gives them, to the bit, in the first process; in the others they mean nothing.

    progress: called by all after each round of a batch for each process, with the number of images in it.
    """
    if processes.world == 1:
        return model.embed_rows(images, batch_size=batch_size, workers=workers, progress=progress)
    total, world = len(images), processes.world
    own = model.embedded(images, InOrder(total, batch_size, rank=processes.rank, world=world), workers)
    done = torch.empty(-(-total // batch_size) * batch_size, model.size)
    for first in range(0, total, batch_size * world):
        sent = torch.zeros(batch_size, model.size)
        if first + processes.rank * batch_size < total:
            embeddings, _ = next(own)
            sent[: len(embeddings)] = embeddings
        elif is_sharded(model.embedder):
            model.accompany()
        parts = [torch.empty_like(sent) for _ in range(world)] if processes.first else None
        dist.gather(sent, parts)
        stop = min(total, first + batch_size * world)
        for number, part in enumerate(parts or []):
            into = done[first + number * batch_size : first + (number + 1) * batch_size]
            into.copy_(part[: len(into)])
        if progress is not None:
            progress(stop - first)
    return done[:total]
