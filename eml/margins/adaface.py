"""AdaFace."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from eml.margins.base import Context, Margin, State, Statistics, angle

if TYPE_CHECKING:
    from torch import Tensor


EPS = 1e-3  # of the released code: bound of cosines, angles and standard deviation


class AdaFace(Margin):
    """A margin that depends on the embedding's length, cos(θ − m·q) − m·(1+q). Kim 2022, arXiv:2204.00964.

    q = clip(h·(n−μ)/(σ+ε), −1, 1), where n is the length clipped to [1e-3, 100], without gradient; μ and σ are the
    running mean and (unbiased) standard deviation of n, updated before use. At q = −1 (short embeddings, poor images)
    it is ArcFace, at q = 0 CosFace. As in the released code, all cosines are clipped to ±(1−ε), so there is no gradient
    within 2.6° of a class weight, and the shifted angle is clipped to [ε, π−ε].
    `alpha` is the weight of the new value: 0.01 in the released configuration, 1 (no memory) in its class.
    Deviation: a batch of one image does not change σ; in the released code σ becomes NaN for good.
    """

    type: Literal["adaface"] = "adaface"
    m: float = Field(0.4, ge=0, lt=1, description="margin (radians where angular, cosine units where additive)")
    h: float = Field(0.333, ge=0, description="effect of the length: q = h at one standard deviation")
    alpha: float = Field(0.01, gt=0, le=1, description="weight of the new batch in the running mean and deviation")
    formula: ClassVar[str] = "cos(θ − m·q) − m·(1+q), q from ‖x‖"
    paper: ClassVar[str] = "Kim 2022, arXiv:2204.00964"
    inputs = frozenset({"norms"})
    neutral = {"m": 0.0}  # noqa: RUF012

    def target(self, cosine: Tensor, context: Context) -> Tensor:
        """cosine: (B,) in [−1, 1]; returns (B,)."""
        assert context.norms is not None
        state, m = context.state, context.margin(self.m)
        norms = context.norms.detach().clamp(EPS, 100)
        q = (self.h * (norms - state["mean"]) / (state["std"] + EPS)).clamp(-1, 1)
        theta = (angle(_bounded(cosine)) - m * q).clamp(EPS, math.pi - EPS)
        return theta.cos() - m * (1 + q)

    def negatives(self, cosine: Tensor, context: Context) -> Tensor:
        """Return the cosines clipped to ±(1−ε)."""
        return _bounded(cosine)

    def initial_state(self, num_classes: int, scale: float) -> dict[str, Tensor]:
        """Return `mean` and `std` ()."""
        import torch

        return {"mean": torch.tensor(20.0), "std": torch.tensor(100.0)}

    def before(self, statistics: Statistics, state: State) -> dict[str, Tensor]:
        """Return the running mean and standard deviation of the clipped lengths."""
        norms = statistics.norms.clamp(EPS, 100)
        mean = state["mean"].lerp(norms.mean(), self.alpha)
        return {"mean": mean} | ({"std": state["std"].lerp(norms.std(), self.alpha)} if len(norms) > 1 else {})


def _bounded(cosine: Tensor) -> Tensor:
    return cosine.clamp(EPS - 1, 1 - EPS)
