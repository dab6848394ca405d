"""Combined margin."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from eml.margins.base import Context, Gradient, Margin, PastPi, angle, shifted_cosine, stepped_cosine, with_gradient

if TYPE_CHECKING:
    from torch import Tensor


class Combined(Margin):
    """Combined margin, cos(m1·θ+m2) − m3. Deng 2019, arXiv:1801.07698, eq. 4; defaults of its released configuration.

    `past_pi` is ArcFace's, with m1·θ+m2 instead of θ+m; m3 is subtracted in every branch. `linear` is cos θ − a·sin a,
    where a is the shift of the target's angle at the branch point; for m1 = 1 that is m2.
    """

    type: Literal["combined"] = "combined"
    m1: float = Field(1.0, gt=0, le=10, description="factor on the angle")
    m2: float = Field(0.3, ge=0, lt=math.pi, description="added to the angle", json_schema_extra={"unit": "radians"})
    m3: float = Field(0.2, ge=0, lt=2, description="subtracted from the cosine (cosine units)")
    past_pi: PastPi = "smooth"
    gradient: Gradient = "exact"
    formula: ClassVar[str] = "cos(m1·θ+m2) − m3"
    paper: ClassVar[str] = "Deng 2019, arXiv:1801.07698"
    neutral = {"m1": 1.0, "m2": 0.0, "m3": 0.0}  # noqa: RUF012

    def target(self, cosine: Tensor, context: Context) -> Tensor:
        """cosine: (B,) in [−1, 1]; returns (B,)."""
        return with_gradient(self.gradient, cosine, self._angular(cosine) - self.m3)

    def _angular(self, cosine: Tensor) -> Tensor:
        if self.m1 == 1:
            return shifted_cosine(cosine, self.m2, self.past_pi)
        total = self.m1 * angle(cosine) + self.m2
        match self.past_pi:
            case "smooth":
                return stepped_cosine(total)
            case "linear":
                shift = math.pi - (math.pi - self.m2) / self.m1
                return (cosine - shift * math.sin(shift)).where(total > math.pi, total.cos())
            case "easy":
                return total.cos().where(cosine > 0, cosine)
            case "none":
                return total.cos()
