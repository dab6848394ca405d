"""Cross-entropy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from eml.losses.base import Loss, Terms

if TYPE_CHECKING:
    from torch import Tensor


class CrossEntropy(Loss):
    """ln Σ exp z − (1−ε)·z_y − ε·mean z: cross-entropy over the adjusted logits with label smoothing ε.

    Szegedy 2016, arXiv:1512.00567, section 7. Smoothing opposes a margin: its optimal gap between target and other
    logits is ln((1−ε+ε/C)·C/ε), which divided by the scale is often less than the margin.
    """

    type: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share ε of the target spread evenly over all classes; keep it at most 0.02"
    )

    def per_sample(self, terms: Terms) -> Tensor:
        """Return the (B,) losses in nats."""
        smoothed = terms.target_logit.lerp(terms.mean_logit, self.label_smoothing)
        return terms.log_sum_exp - smoothed

    def plain(self) -> bool:
        """Return whether there is no smoothing."""
        return self.label_smoothing == 0

    def optimal_gap(self, num_classes: int, scale: float) -> float:
        """ln((1−ε+ε/C)·C/ε)/scale, the gap at which the smoothed loss has its minimum."""
        share = self.label_smoothing
        return math.inf if share == 0 else math.log((1 - share + share / num_classes) * num_classes / share) / scale
