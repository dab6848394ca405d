"""NormFace."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from eml.margins.base import Context, Margin

if TYPE_CHECKING:
    from torch import Tensor


class NormFace(Margin):
    """Normalised softmax, s·cos θ without a margin. Wang 2017, arXiv:1704.06369.

    The paper learns the scale: `head: {scale: learned}`.
    """

    type: Literal["normface"] = "normface"
    formula: ClassVar[str] = "c"
    paper: ClassVar[str] = "Wang 2017, arXiv:1704.06369"
    neutral = {}  # noqa: RUF012 - never changed

    def target(self, cosine: Tensor, context: Context) -> Tensor:
        """Return the cosine unchanged."""
        return cosine
