"""Circle loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from eml.margins.base import Context, Margin, per_row

if TYPE_CHECKING:
    from torch import Tensor


class Circle(Margin):
    """[1+m−c]₊·(c−(1−m)) for the target, [c_j+m]₊·(c_j−m) for the others. Sun 2020, arXiv:2002.10857.

    The brackets weigh each cosine by its distance from the optimum and are constants in the backward pass. This is the
    classification form: the pairs are embeddings and class weights.
    """

    type: Literal["circle"] = "circle"
    m: float = Field(
        0.25, ge=0, lt=1, description="relaxation: target cosines of 1−m and other cosines of m suffice (cosine units)"
    )
    formula: ClassVar[str] = "[1+m−c]₊·(c−(1−m)); [c_j+m]₊·(c_j−m)"
    paper: ClassVar[str] = "Sun 2020, arXiv:2002.10857"
    paper_scale: ClassVar[float | Literal["auto"]] = 256.0

    def target(self, cosine: Tensor, context: Context) -> Tensor:
        """cosine: (B,) in [−1, 1]; returns (B,)."""
        m = context.margin(self.m)
        return (1 + m - cosine).clamp_min(0).detach() * (cosine - (1 - m))

    def negatives(self, cosine: Tensor, context: Context) -> Tensor:
        """cosine: (B, c)."""
        m = per_row(context.margin(self.m))
        return (cosine + m).clamp_min(0).detach() * (cosine - m)
