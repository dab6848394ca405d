"""Sub-center ArcFace."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from eml.margins.base import Context, Gradient, Margin, PastPi, shifted_cosine, with_gradient

if TYPE_CHECKING:
    from torch import Tensor


class SubcenterArcFace(Margin):
    """ArcFace on the nearest of K centres of each class, c = max_k x̂·ŵ_k; label noise collects at the lesser centres.

    Deng 2020, ECCV, "Sub-center ArcFace: Boosting Face Recognition by Large-scale Noisy Web Faces". Only the nearest
    centre gets a gradient. `head: {centers: K}` does the same for any other margin.
    """

    type: Literal["subcenter_arcface"] = "subcenter_arcface"
    m: float = Field(0.5, ge=0, lt=math.pi, description="angular margin", json_schema_extra={"unit": "radians"})
    centers: int = Field(3, ge=1, le=100, description="centres K per class")
    past_pi: PastPi = "smooth"
    gradient: Gradient = "exact"
    formula: ClassVar[str] = "cos(θ+m), c = max_k x̂·ŵ_k"
    paper: ClassVar[str] = "Deng 2020, ECCV"
    neutral = {"m": 0.0, "centers": 1}  # noqa: RUF012

    def target(self, cosine: Tensor, context: Context) -> Tensor:
        """cosine: (B,) in [−1, 1]; returns (B,)."""
        return with_gradient(self.gradient, cosine, shifted_cosine(cosine, context.margin(self.m), self.past_pi))
