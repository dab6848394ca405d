"""ArcFace."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from eml.margins.base import Context, Margin, sine, with_offset_detached

if TYPE_CHECKING:
    from torch import Tensor


class ArcFace(Margin):
    """Additive angular margin, cos(θ+m). Deng 2019, arXiv:1801.07698, eq. 3.

    Past θ = π−m the formula rises again, so that the hardest samples would be pushed the wrong way; the paper is
    silent there, and its released code has changed its mind. `past_pi` chooses:
    `smooth` −cos(θ+m)−2, decreasing and continuous with its slope (ours by default);
    `linear` cos θ − m·sin m (the first MXNet code, pytorch-metric-learning), decreasing with a jump;
    `none` the bare formula (insightface's current code); `easy` the margin only where cos θ > 0.
    `gradient: detached` gives ∂φ/∂cos θ = 1, as insightface's PyTorch code does since 2022: same value, other gradient.
    """

    type: Literal["arcface"] = "arcface"
    m: float = Field(0.5, ge=0, lt=math.pi, description="angular margin", json_schema_extra={"unit": "radians"})
    past_pi: Literal["smooth", "linear", "none", "easy"] = Field(
        "smooth", description="what the target becomes past θ = π−m, where cos(θ+m) would rise again"
    )
    gradient: Literal["exact", "detached"] = Field(
        "exact", description="exact: through cos(θ+m); detached: the margin is a constant offset, ∂φ/∂cos θ = 1"
    )

    def target(self, cosine: Tensor, context: Context) -> Tensor:
        """cosine: (B,) in [−1, 1]; returns (B,)."""
        m = cosine.new_tensor(self.m) if context.m is None else cosine.new_tensor(0) + context.m
        shifted = cosine * m.cos() - sine(cosine) * m.sin()
        over = cosine < -m.cos()  # θ > π−m
        match self.past_pi:
            case "smooth":
                shifted = (-shifted - 2).where(over, shifted)
            case "linear":
                shifted = (cosine - m * m.sin()).where(over, shifted)
            case "easy":
                shifted = shifted.where(cosine > 0, cosine)
            case "none":
                pass
        return with_offset_detached(cosine, shifted) if self.gradient == "detached" else shifted
