"""SphereFace2."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from eml.margins.base import Context, Gradient, Margin, per_row, with_gradient

if TYPE_CHECKING:
    from torch import Tensor


class SphereFace2(Margin):
    """One binary classification per class, on r·(g(c) ∓ m) + b with g = 2·((c+1)/2)^t − 1. Wen 2022, arXiv:2108.01513.

    SphereFace2-C: α·softplus(−z_y) + (1−α)·Σ_{j≠y} softplus(z_j), times loss_weight/r; r is the head's scale. b is
    learned. Its initial value balances the gradients of positive and negative terms at cos θ = 0:
    α·σ(−(a_y+b)) = (1−α)·(C−1)·σ(a_j+b). The released code (opensphere) is `gradient: detached`.
    """

    type: Literal["sphereface2"] = "sphereface2"
    m: float = Field(0.4, ge=0, lt=1, description="margin on both sides (units of g, which is in [−1, 1])")
    t: float = Field(3.0, ge=1, description="exponent of g; 1: g(c) = c")
    alpha: float = Field(0.7, gt=0, lt=1, description="weight of the positive term, 1−alpha of each negative one")
    loss_weight: float = Field(50.0, gt=0, description="the loss is multiplied by this over the scale")
    gradient: Gradient = "detached"
    formula: ClassVar[str] = "BCE: g(c) − m; g(c_j) + m, g = 2((c+1)/2)^t − 1"
    paper: ClassVar[str] = "Wen 2022, arXiv:2108.01513"
    paper_scale: ClassVar[float | Literal["auto"]] = 40.0
    reduction = "bce"

    def target(self, cosine: Tensor, context: Context) -> Tensor:
        """cosine: (B,) in [−1, 1]; returns (B,)."""
        return with_gradient(self.gradient, cosine, self._stretched(cosine) - context.margin(self.m))

    def negatives(self, cosine: Tensor, context: Context) -> Tensor:
        """cosine: (B, c)."""
        return with_gradient(self.gradient, cosine, self._stretched(cosine) + per_row(context.margin(self.m)))

    def _stretched(self, cosine: Tensor) -> Tensor:
        return 2 * ((cosine + 1) / 2).clamp_min(0) ** self.t - 1

    def initial_bias(self, num_classes: int, scale: float) -> float:
        """Return the b of the balance, a quadratic equation in e^(a_j+b), solved in logarithms."""
        z = self.alpha / ((1 - self.alpha) * (num_classes - 1))
        middle = 2 * math.pow(0.5, self.t) - 1
        positive, negative = scale * (middle - self.m), scale * (middle + self.m)
        root = math.sqrt((1 - z) ** 2 + 4 * z * math.exp(positive - negative))
        if z < 1:
            return math.log(2 * z) - negative - math.log(1 - z + root)
        return math.log(root - (1 - z)) - math.log(2) - positive  # the same root, without cancellation

    def balance(self) -> tuple[float, float]:
        """α, 1−α."""
        return self.alpha, 1 - self.alpha

    def loss_factor(self, scale: float | Tensor) -> float | Tensor:
        """loss_weight/r."""
        return self.loss_weight / scale
