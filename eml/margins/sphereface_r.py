"""SphereFace-R."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from eml.margins.base import Context, Gradient, Margin, angle, per_row, with_gradient

if TYPE_CHECKING:
    from torch import Tensor


class SphereFaceR(Margin):
    """`v1`: cos(min(mθ, π)) for the target; `v2`: cos(θ_j/m) for the others. Liu 2022, arXiv:2109.05565.

    SphereFace with hard feature normalisation: logits are cosines times the head's scale s, and the loss is multiplied
    by loss_weight/s.
    `gradient: detached` is the paper's characteristic gradient detachment, as in its released code.
    """

    type: Literal["sphereface_r"] = "sphereface_r"
    variant: Literal["v1", "v2"] = Field("v1", description="v1: enlarge the target angle; v2: reduce the other angles")
    m: float = Field(1.5, ge=1, le=10, description="factor on the angle")
    loss_weight: float = Field(50.0, gt=0, description="the loss is multiplied by this over the scale")
    gradient: Gradient = "detached"
    formula: ClassVar[str] = "v1: cos(min(mθ, π)); v2: cos(θ_j/m)"
    paper: ClassVar[str] = "Liu 2022, arXiv:2109.05565"
    paper_scale: ClassVar[float | Literal["auto"]] = 30.0
    neutral = {"m": 1.0}  # noqa: RUF012

    def target(self, cosine: Tensor, context: Context) -> Tensor:
        """cosine: (B,) in [−1, 1]; returns (B,)."""
        if self.variant == "v2":
            return cosine
        stretched = (context.margin(self.m) * angle(cosine)).clamp_max(math.pi).cos()
        return with_gradient(self.gradient, cosine, stretched)

    def negatives(self, cosine: Tensor, context: Context) -> Tensor:
        """cosine: (B, c)."""
        if self.variant == "v1":
            return cosine
        return with_gradient(self.gradient, cosine, (angle(cosine) / per_row(context.margin(self.m))).cos())

    def loss_factor(self, scale: float | Tensor) -> float | Tensor:
        """loss_weight/s."""
        return self.loss_weight / scale
