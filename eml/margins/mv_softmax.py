"""MV-softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from eml.margins.base import Context, Margin, PastPi, shifted_cosine

if TYPE_CHECKING:
    from torch import Tensor


class MVSoftmax(Margin):
    """A margin on the target, and harder misclassified classes: c_j → t·c_j + t − 1 where c_j exceeds the target.

    Wang 2020, arXiv:1912.00833 (adaptive weights). The target is ArcFace's (`kind: arc`) or CosFace's
    (`kind: additive`, for which the paper uses m = 0.35). A class exceeds it where c_j > cos(θ+m) or c_j > c − m, by
    the bare formulas. Our t is 1 more than the paper's, as in the released code. `past_pi: easy` is that code's
    `easy_margin`, for both kinds: the margin only where cos θ > 0. (FaceX-Zoo's version of the additive kind has it
    where cos θ > m.) The additive kind ignores the other values.
    """

    type: Literal["mv_softmax"] = "mv_softmax"
    kind: Literal["arc", "additive"] = Field("arc", description="margin in the angle, or in the cosine")
    m: float = Field(0.5, ge=0, lt=2, description="margin (radians for arc, cosine units for additive)")
    t: float = Field(1.2, ge=1, description="factor on misclassified classes; 1: no effect")
    past_pi: PastPi = "smooth"
    formula: ClassVar[str] = "cos(θ+m) or c−m; t·c_j+t−1 where c_j is above"
    paper: ClassVar[str] = "Wang 2020, arXiv:1912.00833"
    paper_scale: ClassVar[float | Literal["auto"]] = 32.0
    neutral = {"m": 0.0, "t": 1.0}  # noqa: RUF012

    def target(self, cosine: Tensor, context: Context) -> Tensor:
        """cosine: (B,) in [−1, 1]; returns (B,)."""
        m = context.margin(self.m)
        if self.kind == "arc":
            return shifted_cosine(cosine, m, self.past_pi)
        return (cosine - m).where(cosine > 0, cosine) if self.past_pi == "easy" else cosine - m

    def negatives(self, cosine: Tensor, context: Context) -> Tensor:
        """cosine: (B, c)."""
        m, own = context.margin(self.m), context.cosine_y.detach()
        bar = shifted_cosine(own, m, "none") if self.kind == "arc" else own - m
        return (self.t * cosine + (self.t - 1)).where(cosine > bar.unsqueeze(1), cosine)
