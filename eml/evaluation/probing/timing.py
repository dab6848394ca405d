"""The time that a network takes for an image."""

import time
from dataclasses import dataclass

import torch

from eml.inference.model import Model

BATCH_SIZE, BATCHES = 16, 5
"""Images of a batch that is timed, and how many batches after the first one, which is not."""


@dataclass(frozen=True)
class Speed:
    """The time of a network.

    Attributes:
        milliseconds: For an image, by the quickest of a few batches, without reading and decoding it.
        batch_size: Images of a batch.
        threads: The threads of torch meanwhile; on a GPU they hardly matter.
        device: Where it was measured.
    """

    milliseconds: float
    batch_size: int
    threads: int
    device: str


def measure_speed(model: Model, *, batch_size: int = BATCH_SIZE, batches: int = BATCHES) -> Speed:
    """Time a network on black images of its own size, which take as long as any others.

    Other work on the machine only ever makes a batch slower, so the quickest one says most about the network.
    """
    pixels = torch.zeros(batch_size, 3, *model.preprocess.shape, dtype=torch.uint8)
    model.embed_pixels(pixels)
    times = []
    for _ in range(batches):
        started = time.perf_counter()
        model.embed_pixels(pixels)  # to the CPU, so that a GPU is waited for
        times.append(time.perf_counter() - started)
    return Speed(min(times) * 1000 / batch_size, batch_size, torch.get_num_threads(), str(model.device))
