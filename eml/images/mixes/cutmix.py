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
    """A box of the positive over the image, labels weighted by exact area. Yun 2019, arXiv:1905.04899, eq. 1–2."""

    type: Literal["cutmix"] = "cutmix"
    alpha: float = Field(
        1.0, ge=0.01, le=100, description="of λ ~ Beta(α, α), the area kept before the box is cut off at the edges"
    )

    def mix(self, images: Tensor, positives: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """With a box of the positives."""
        return pasted(images, positives, random, alpha=self.alpha, draws=self.draws(images))
