"""Mixup or CutMix, batch by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from eml.images.mixes._mixing import blended, pasted
from eml.images.mixes.base import Mix

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class Either(Mix):
    """Each mixed batch by mixup (arXiv:1710.09412) or by CutMix (arXiv:1905.04899), as a coin says."""

    type: Literal["either"] = "either"
    cutmix: float = Field(0.5, ge=0, le=1, description="chance of a mixed batch to be CutMix's, else it is mixup's")
    mixup_alpha: float = Field(0.2, ge=0.01, le=100, description="of mixup's λ ~ Beta(α, α)")
    cutmix_alpha: float = Field(1.0, ge=0.01, le=100, description="of CutMix's λ ~ Beta(α, α)")

    def mix(self, images: Tensor, positives: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Blended with the positives, or with a box of them."""
        if random.random() < self.cutmix:
            return pasted(images, positives, random, alpha=self.cutmix_alpha, draws=self.draws(images))
        return blended(images, positives, random, alpha=self.mixup_alpha, draws=self.draws(images))
