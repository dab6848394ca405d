"""CosFace."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from eml.margins.base import Context, Margin

if TYPE_CHECKING:
    from torch import Tensor


class CosFace(Margin):
    """Additive cosine margin, cos θ − m. Wang 2018, arXiv:1801.09414, eq. 4; also AM-Softmax, arXiv:1801.05599."""

    type: Literal["cosface"] = "cosface"
    m: float = Field(0.35, ge=0, lt=2, description="margin, subtracted from the target cosine (cosine units)")
    formula: ClassVar[str] = "c − m"
    paper: ClassVar[str] = "Wang 2018, arXiv:1801.09414"
    neutral = {"m": 0.0}  # noqa: RUF012

    def target(self, cosine: Tensor, context: Context) -> Tensor:
        """cosine: (B,) in [−1, 1]; returns (B,)."""
        return cosine - context.margin(self.m)
