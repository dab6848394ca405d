"""ElasticFace-Cos."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from eml.margins.base import Context, Margin, elastic

if TYPE_CHECKING:
    from torch import Tensor


class ElasticCosFace(Margin):
    """c − m_i, m_i ~ N(m, σ), a new margin for every sample and step. Boutros 2022, arXiv:2109.09416.

    `plus` gives the batch's larger margins to the samples farther from their class; the paper then uses σ = 0.025. The
    released code intends the same, but sorts by position instead of rank, which assigns the margins at random; ours
    assigns them by rank. Without draws, as in eval mode, the margin is m.
    """

    type: Literal["elastic_cosface"] = "elastic_cosface"
    m: float = Field(0.35, ge=0, lt=2, description="mean margin (cosine units)")
    sigma: float = Field(0.05, ge=0, lt=1, description="standard deviation of the margins (cosine units)")
    plus: bool = Field(False, description="larger margins for the batch's harder samples")
    formula: ClassVar[str] = "c − m_i, m_i ~ N(m, σ)"
    paper: ClassVar[str] = "Boutros 2022, arXiv:2109.09416"
    inputs = frozenset({"draws", "ranks"})
    neutral = {"m": 0.0, "sigma": 0.0}  # noqa: RUF012

    def target(self, cosine: Tensor, context: Context) -> Tensor:
        """cosine: (B,) in [−1, 1]; returns (B,)."""
        m = elastic(context, context.margin(self.m), self.sigma, plus=self.plus)
        return cosine - m
