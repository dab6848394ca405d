"""The two ways to mix images of a batch. Floats in, so that nothing is rounded; never in place."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


def blended(
    images: Tensor, positives: Tensor, random: np.random.Generator, *, alpha: float, draws: int
) -> tuple[Tensor, Tensor]:
    """λ·image + (1−λ)·positive and the shares λ ~ Beta(α, α), (B,). Zhang 2018, arXiv:1710.09412, eq. 1.

    images: (B, 3, H, W). positives: (B,) int64. draws: how many λ, 1 or B. Normalisation is affine, so that it is the
    same before and after.
    """
    share = images.new_tensor(random.beta(alpha, alpha, draws)).expand(len(images))
    return images[positives].lerp_(images, share.view(-1, 1, 1, 1)), share


def pasted(
    images: Tensor, positives: Tensor, random: np.random.Generator, *, alpha: float, draws: int
) -> tuple[Tensor, Tensor]:
    """A box of the positive put over the image, and the shares of the area kept, (B,). Yun 2019, arXiv:1905.04899.

    λ ~ Beta(α, α), sides √(1−λ) of the image's, middle anywhere in it, cut off at its edges (eq. 2). The share is
    counted from the pixels of the box as it is then, as in the authors' code. draws: how many boxes, 1 or B.
    """
    height, width = images.shape[-2:]
    mixed, shares = images.clone(), []
    for number, kept in enumerate(random.beta(alpha, alpha, draws)):
        side = math.sqrt(1 - kept)
        top, bottom = _stretch(height, side, random)
        left, right = _stretch(width, side, random)
        rows = slice(None) if draws == 1 else slice(number, number + 1)
        mixed[rows, :, top:bottom, left:right] = images[:, :, top:bottom, left:right][positives[rows]]
        shares.append(1 - (bottom - top) * (right - left) / (height * width))
    return mixed, images.new_tensor(shares).expand(len(images))


def _stretch(length: int, share: float, random: np.random.Generator) -> tuple[int, int]:
    """First and last (exclusive) pixel of a stretch of a side around any pixel of it."""
    size = round(length * share)
    first = int(random.integers(length)) - size // 2
    return max(0, first), min(length, first + size)
