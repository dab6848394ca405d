"""ElasticFace-Arc."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from eml.margins.base import Context, Gradient, Margin, PastPi, elastic, shifted_cosine, with_gradient

if TYPE_CHECKING:
    from torch import Tensor


class ElasticArcFace(Margin):
    """cos(θ+m_i), m_i ~ N(m, σ), a new margin for every sample and step. Boutros 2022, arXiv:2109.09416.

    `plus` gives the batch's larger margins to the samples farther from their class; the paper then uses σ = 0.0175. The
    released code intends the same, but sorts by position instead of rank, which assigns the margins at random; ours
    assigns them by rank. Without draws, as in eval mode, the margin is m.
    """

    type: Literal["elastic_arcface"] = "elastic_arcface"
    m: float = Field(0.5, ge=0, lt=math.pi, description="mean margin", json_schema_extra={"unit": "radians"})
    sigma: float = Field(0.05, ge=0, lt=1, description="standard deviation of the margins (radians)")
    plus: bool = Field(False, description="larger margins for the batch's harder samples")
    past_pi: PastPi = "smooth"
    gradient: Gradient = "exact"
    formula: ClassVar[str] = "cos(θ+m_i), m_i ~ N(m, σ)"
    paper: ClassVar[str] = "Boutros 2022, arXiv:2109.09416"
    inputs = frozenset({"draws", "ranks"})
    neutral = {"m": 0.0, "sigma": 0.0}  # noqa: RUF012

    def target(self, cosine: Tensor, context: Context) -> Tensor:
        """cosine: (B,) in [−1, 1]; returns (B,)."""
        m = elastic(context, context.margin(self.m), self.sigma, plus=self.plus)
        return with_gradient(self.gradient, cosine, shifted_cosine(cosine, m, self.past_pi))
