"""The two ways to mix the images of a batch, given as floats so that nothing is rounded. The input is not changed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from eml.devices import to_device

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


def blended(
    images: Tensor, partners: Tensor, random: np.random.Generator, *, alpha: float, draws: int
) -> tuple[Tensor, Tensor]:
    """λ·image + (1−λ)·partner and the shares λ ~ Beta(α, α), (B,) on the CPU. Zhang 2018, arXiv:1710.09412, eq. 1.

    images: (B, 3, H, W). partners: (B,) int64. draws: number of λ, 1 or B. Normalisation is affine, so mixing before
    or after it is the same.
    """
    import torch

    share = torch.tensor(random.beta(alpha, alpha, draws), dtype=images.dtype).expand(len(images))
    return images[partners].lerp_(images, to_device(share, images.device).view(-1, 1, 1, 1)), share


def pasted(
    images: Tensor, partners: Tensor, random: np.random.Generator, *, alpha: float, draws: int
) -> tuple[Tensor, Tensor]:
    """Put a box of the partner over the image; return images and shares of the area kept, (B,) on the CPU.

    Yun 2019, arXiv:1905.04899.

    λ ~ Beta(α, α); the box has sides √(1−λ) of the image's and its centre anywhere in the image, and is clipped at the
    edges (eq. 2). The share is computed from the clipped box, as in the authors' code. draws: number of boxes, 1 or B.
    """
    import torch

    height, width = images.shape[-2:]
    mixed, shares = images.clone(), []
    for number, kept in enumerate(random.beta(alpha, alpha, draws)):
        side = math.sqrt(1 - kept)
        top, bottom = _interval(height, side, random)
        left, right = _interval(width, side, random)
        rows = slice(None) if draws == 1 else slice(number, number + 1)
        mixed[rows, :, top:bottom, left:right] = images[:, :, top:bottom, left:right][partners[rows]]
        shares.append(1 - (bottom - top) * (right - left) / (height * width))
    return mixed, torch.tensor(shares, dtype=images.dtype).expand(len(images))


def _interval(length: int, share: float, random: np.random.Generator) -> tuple[int, int]:
    """Return the first and last (exclusive) pixel of a random interval of a side, clipped to it."""
    size = round(length * share)
    first = int(random.integers(length)) - size // 2
    return max(0, first), min(length, first + size)
