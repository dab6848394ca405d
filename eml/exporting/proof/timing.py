"""Milliseconds per image of two models on one thread, in turns, so that other work on the machine meets both."""

from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter

import torch
from torch import Tensor

from eml.devices import one_thread
from eml.exporting.proof.record import ProvedSpeed

BATCHES = (1, 16)
SECONDS = 4.0
"""Time for each batch size; the rounds begun by then are finished."""
MOST_ROUNDS, LEAST_ROUNDS = 25, 3

Embed = Callable[[Tensor], Tensor]
"""pixels (B, 3, H, W) uint8 → embeddings (B, D)."""


def time_both(
    reference: Embed, exported: Embed, pixels: Tensor, *, seconds: float = SECONDS, batches: Sequence[int] = BATCHES
) -> list[ProvedSpeed]:
    """Return the milliseconds per image of both models; none for no seconds.

    Args:
        reference: Embeds by torch.
        exported: Embeds by the exported model, on one thread.
        pixels: (N, 3, H, W) uint8; repeated where a batch has more.
        seconds: For each batch size.
        batches: The batch sizes.
    """
    if seconds <= 0:
        return []
    with one_thread():
        return [_time(reference, exported, repeated(pixels, batch), seconds) for batch in batches]


def repeated(pixels: Tensor, count: int) -> Tensor:
    """Return (count, 3, H, W) of the pixels (N, 3, H, W), from the beginning again where there are fewer."""
    return pixels[torch.arange(count) % len(pixels)]


def _time(reference: Embed, exported: Embed, pixels: Tensor, seconds: float) -> ProvedSpeed:
    times: tuple[list[float], list[float]] = ([], [])
    begin = perf_counter()
    for embed in (reference, exported):
        embed(pixels)  # the first run allocates
    while len(times[0]) < LEAST_ROUNDS or (len(times[0]) < MOST_ROUNDS and perf_counter() - begin < seconds):
        for embed, measured in zip((reference, exported), times, strict=True):
            start = perf_counter()
            embed(pixels)
            measured.append((perf_counter() - start) / len(pixels) * 1000)
    return ProvedSpeed(batch=len(pixels), reference=median(times[0]), exported=median(times[1]), rounds=len(times[0]))
