"""UniFace."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from eml.margins.base import Context, Margin

if TYPE_CHECKING:
    from torch import Tensor


class UniFace(Margin):
    """Unified cross-entropy: softplus(−(s·(c−m)−b)) + l·Σ_{j≠y} softplus(s·c_j−b), one threshold b for all classes.

    Zhou 2023, ICCV, "UniFace: Unified Cross-Entropy Loss for Deep Face Recognition". b is learned and starts at
    ln(10·C·r); the head keeps it as −b, added to every logit.
    Deviation: the released code clamps the logits to ±s before the exponential, which removes the gradient of the
    hardest positives; softplus needs no clamp.
    """

    type: Literal["uniface"] = "uniface"
    m: float = Field(0.4, ge=0, lt=2, description="margin, subtracted from the target cosine (cosine units)")
    negative_weight: float = Field(1.0, gt=0, description="weight l of each negative term")
    sampled_share: float = Field(
        1.0, gt=0, le=1, description="share r of the classes that a step compares, for the initial b"
    )
    formula: ClassVar[str] = "BCE: c − m; c_j, with a learned threshold"
    paper: ClassVar[str] = "Zhou 2023, ICCV"
    reduction = "bce"

    def target(self, cosine: Tensor, context: Context) -> Tensor:
        """cosine: (B,) in [−1, 1]; returns (B,)."""
        return cosine - context.margin(self.m)

    def initial_bias(self, num_classes: int, scale: float) -> float:
        """−ln(10·C·r)."""
        return -math.log(10 * num_classes * self.sampled_share)

    def balance(self) -> tuple[float, float]:
        """1, l."""
        return 1.0, self.negative_weight
