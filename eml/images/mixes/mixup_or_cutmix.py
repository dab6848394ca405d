"""Mixup or CutMix, drawn for each batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from eml.images.mixes._mixing import blended, pasted
from eml.images.mixes.base import Mix

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class MixupOrCutMix(Mix):
    """Mixup (arXiv:1710.09412) or CutMix (arXiv:1905.04899), drawn at random for each mixed batch."""

    type: Literal["mixup_or_cutmix"] = "mixup_or_cutmix"
    cutmix: float = Field(0.5, ge=0, le=1, description="chance of CutMix for a mixed batch, else mixup")
    mixup_alpha: float = Field(0.2, ge=0.01, le=100, description="α of mixup's λ ~ Beta(α, α)")
    cutmix_alpha: float = Field(1.0, ge=0.01, le=100, description="α of CutMix's λ ~ Beta(α, α)")

    def mix(self, images: Tensor, partners: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Blend the images with the partners, or put boxes of the partners over them."""
        if random.random() < self.cutmix:
            return pasted(images, partners, random, alpha=self.cutmix_alpha, draws=self.draws(images))
        return blended(images, partners, random, alpha=self.mixup_alpha, draws=self.draws(images))
