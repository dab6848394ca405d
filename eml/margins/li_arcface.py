"""Li-ArcFace."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from eml.margins.base import Context, Margin, angle

if TYPE_CHECKING:
    from torch import Tensor


class LiArcFace(Margin):
    """Linear in the angle, (π − 2(θ+m))/π for the target and (π − 2θ_j)/π for the others. Li 2019, arXiv:1907.12256.

    It falls up to θ = π, and its gradient with respect to the angle is the same everywhere.
    """

    type: Literal["li_arcface"] = "li_arcface"
    m: float = Field(0.45, ge=0, lt=math.pi, description="angular margin", json_schema_extra={"unit": "radians"})
    formula: ClassVar[str] = "(π − 2(θ+m))/π; (π − 2θ_j)/π"
    paper: ClassVar[str] = "Li 2019, arXiv:1907.12256"

    def target(self, cosine: Tensor, context: Context) -> Tensor:
        """cosine: (B,) in [−1, 1]; returns (B,)."""
        return 1 - 2 * (angle(cosine) + context.margin(self.m)) / math.pi

    def negatives(self, cosine: Tensor, context: Context) -> Tensor:
        """cosine: (B, c)."""
        return 1 - 2 * angle(cosine) / math.pi
