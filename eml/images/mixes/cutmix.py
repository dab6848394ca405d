"""CutMix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from eml.images.mixes._mixing import pasted
from eml.images.mixes.base import Mix

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class CutMix(Mix):
    """Put a box of the partner over the image; labels are weighted by area. Yun 2019, arXiv:1905.04899, eq. 1–2."""

    type: Literal["cutmix"] = "cutmix"
    alpha: float = Field(
        1.0,
        ge=0.01,
        le=100,
        description="α of λ ~ Beta(α, α), the share of the area that is kept before the box is clipped at the edges",
    )

    def mix(self, images: Tensor, partners: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Put boxes of the partners over the images."""
        return pasted(images, partners, random, alpha=self.alpha, draws=self.draws(images))
