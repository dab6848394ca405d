"""MagFace."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from eml.margins.base import Context, Margin, PastPi, shifted_cosine

if TYPE_CHECKING:
    from torch import Tensor


class MagFace(Margin):
    """cos(θ + m(a)) with a margin that grows with the length a of the embedding. Meng 2021, arXiv:2103.06627.

    m(a) rises linearly from `lower_margin` to `upper_margin` over a in [lower_norm, upper_norm], to which the length is
    clipped; the gradient flows through it. λ_g·g(a), g = a/upper_norm² + 1/a, is added to the loss, which makes the
    embeddings of good images long: the length is a quality score. The released code is `past_pi: easy`; its script
    uses λ_g = 35. Its trainer's default of 20 is below the bound that the paper derives (22.6 with these numbers).
    """

    type: Literal["magface"] = "magface"
    lower_margin: float = Field(0.45, ge=0, lt=math.pi, description="margin of the shortest embeddings (radians)")
    upper_margin: float = Field(0.8, ge=0, lt=math.pi, description="margin of the longest embeddings (radians)")
    lower_norm: float = Field(10.0, gt=0, description="lengths are clipped to at least this")
    upper_norm: float = Field(110.0, gt=0, description="lengths are clipped to at most this")
    lambda_g: float = Field(35.0, ge=0, description="weight of the term that lengthens embeddings")
    past_pi: PastPi = "easy"
    formula: ClassVar[str] = "cos(θ+m(‖x‖)), + λ_g·g(‖x‖)"
    paper: ClassVar[str] = "Meng 2021, arXiv:2103.06627"
    inputs = frozenset({"norms"})
    neutral = {"lower_margin": 0.0, "upper_margin": 0.0, "lambda_g": 0.0}  # noqa: RUF012

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.lower_norm >= self.upper_norm:
            raise ValueError(f"upper_norm must be above lower_norm, got {self.upper_norm} and {self.lower_norm}")
        return self

    def target(self, cosine: Tensor, context: Context) -> Tensor:
        """cosine: (B,) in [−1, 1]; returns (B,)."""
        slope = (self.upper_margin - self.lower_margin) / (self.upper_norm - self.lower_norm)
        m = self.lower_margin + slope * (self._norms(context) - self.lower_norm)
        return shifted_cosine(cosine, m, self.past_pi)

    def penalty(self, context: Context) -> Tensor:
        """λ_g·g(a), (B,)."""
        norms = self._norms(context)
        return self.lambda_g * (norms / self.upper_norm**2 + 1 / norms)

    def _norms(self, context: Context) -> Tensor:
        assert context.norms is not None
        return context.norms.clamp(self.lower_norm, self.upper_norm)
