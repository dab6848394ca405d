"""CurricularFace."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from eml.margins.base import Context, Gradient, Margin, PastPi, State, Statistics, shifted_cosine, with_gradient

if TYPE_CHECKING:
    from torch import Tensor


class CurricularFace(Margin):
    """ArcFace's target; hard negatives c_j > cos(θ_y+m) become c_j·(t+c_j). Huang 2020, arXiv:2004.00288.

    t is the running mean of the target cosines (without margin), updated before use: hard negatives weigh less than
    others early in training and more later. The threshold for hard negatives is the bare cos(θ_y+m) for every
    `past_pi`, as in the released code; that code corresponds to `past_pi: linear`.
    `alpha` is the weight of the new value: 0.01 in the first released code, 0.1 in the authors' later one.
    """

    type: Literal["curricularface"] = "curricularface"
    m: float = Field(0.5, ge=0, lt=math.pi, description="angular margin", json_schema_extra={"unit": "radians"})
    alpha: float = Field(0.01, gt=0, le=1, description="weight of the new batch in the running mean t")
    past_pi: PastPi = "linear"
    gradient: Gradient = "exact"
    formula: ClassVar[str] = "cos(θ+m); c_j·(t+c_j) where c_j > cos(θ+m)"
    paper: ClassVar[str] = "Huang 2020, arXiv:2004.00288"

    def target(self, cosine: Tensor, context: Context) -> Tensor:
        """cosine: (B,) in [−1, 1]; returns (B,)."""
        return with_gradient(self.gradient, cosine, shifted_cosine(cosine, context.margin(self.m), self.past_pi))

    def negatives(self, cosine: Tensor, context: Context) -> Tensor:
        """cosine: (B, c)."""
        bar = shifted_cosine(context.cosine_y.detach(), context.margin(self.m), "none").unsqueeze(1)
        return (cosine * (context.state["t"] + cosine)).where(cosine > bar, cosine)

    def initial_state(self, num_classes: int, scale: float) -> dict[str, Tensor]:
        """Return `t` ()."""
        import torch

        return {"t": torch.tensor(0.0)}

    def before(self, statistics: Statistics, state: State) -> dict[str, Tensor]:
        """Return the next t."""
        return {"t": state["t"].lerp(statistics.cosine_y.mean(), self.alpha)}
