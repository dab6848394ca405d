"""ArcFace."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from eml.margins.base import Context, Gradient, Margin, PastPi, shifted_cosine, with_gradient

if TYPE_CHECKING:
    from torch import Tensor


class ArcFace(Margin):
    """Additive angular margin, cos(θ+m). Deng 2019, arXiv:1801.07698, eq. 3.

    Beyond θ = π−m the formula rises again, which pushes the hardest samples the wrong way. The paper does not treat
    this case, and its released code has handled it in several ways. `past_pi` chooses:
    `smooth` −cos(θ+m)−2, decreasing, with continuous value and slope (our default);
    `linear` cos θ − m·sin m (the first MXNet code, pytorch-metric-learning), decreasing with a jump;
    `none` the bare formula (insightface's current code); `easy` the margin only where cos θ > 0.
    `gradient: detached` sets ∂φ/∂cos θ = 1, as insightface's PyTorch code does since 2022: same value, other gradient.
    """

    type: Literal["arcface"] = "arcface"
    m: float = Field(0.5, ge=0, lt=math.pi, description="angular margin", json_schema_extra={"unit": "radians"})
    past_pi: PastPi = "smooth"
    gradient: Gradient = "exact"
    formula: ClassVar[str] = "cos(θ+m)"
    paper: ClassVar[str] = "Deng 2019, arXiv:1801.07698"
    neutral = {"m": 0.0}  # noqa: RUF012

    def target(self, cosine: Tensor, context: Context) -> Tensor:
        """cosine: (B,) in [−1, 1]; returns (B,)."""
        return with_gradient(self.gradient, cosine, shifted_cosine(cosine, context.margin(self.m), self.past_pi))
