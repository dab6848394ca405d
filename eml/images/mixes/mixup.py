"""Mixup."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from eml.images.mixes._mixing import blended
from eml.images.mixes.base import Mix

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class Mixup(Mix):
    """λ·image + (1−λ)·partner, labels with the same weights. Zhang 2018, arXiv:1710.09412, eq. 1."""

    type: Literal["mixup"] = "mixup"
    alpha: float = Field(
        0.2, ge=0.01, le=100, description="α of λ ~ Beta(α, α); small: mostly one of the two images, 1: λ is uniform"
    )

    def mix(self, images: Tensor, partners: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Blend the images with the partners."""
        return blended(images, partners, random, alpha=self.alpha, draws=self.draws(images))
