"""Focal loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from eml.losses.base import Loss, Terms

if TYPE_CHECKING:
    from torch import Tensor


class Focal(Loss):
    """(1−p)^γ·(−ln p) with p the target's softmax probability after the margin. Lin 2017, arXiv:1708.02002, eq. 4.

    Deviation: over the classes' softmax instead of sigmoids, as usual for one label per image.
    """

    type: Literal["focal"] = "focal"
    gamma: float = Field(
        2.0, ge=0, le=10, description="exponent that reduces the weight of easy samples; 0: cross-entropy"
    )

    def per_sample(self, terms: Terms) -> Tensor:
        """Return the (B,) losses in nats. 1−p is computed as −expm1(ln p), which is precise near p = 1."""
        loss = terms.log_sum_exp - terms.target_logit
        missing = (-(-loss).expm1()).clamp_min(1e-12)  # at 0 the gradient would be infinite for γ below 1
        return missing**self.gamma * loss
