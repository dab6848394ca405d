"""SoftTriple."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from eml.margins.base import Context, Margin

if TYPE_CHECKING:
    from torch import Tensor


class SoftTriple(Margin):
    """K centres per class, pooled by a softmax over them; an additive margin. Qian 2019, arXiv:1909.05235.

    S = Σ_k softmax_k(c_k/γ)·c_k, and the target is S − δ; the scale is the paper's λ. The term
    τ/(C·K·(K−1))·Σ over classes of Σ_{k<l} √(2 − 2·ŵ_k·ŵ_l), added to the loss, merges centres that are not needed.
    """

    type: Literal["soft_triple"] = "soft_triple"
    centers: int = Field(10, ge=1, le=100, description="centres K per class")
    delta: float = Field(0.01, ge=0, lt=2, description="margin δ, subtracted from the target similarity")
    gamma: float = Field(
        0.1, gt=0, description="temperature of the softmax over centres; small: only the nearest centre counts"
    )
    tau: float = Field(0.2, ge=0, description="weight of the term that merges centres")
    formula: ClassVar[str] = "S − δ, S = Σ_k softmax(c_k/γ)·c_k"
    paper: ClassVar[str] = "Qian 2019, arXiv:1909.05235"
    paper_scale: ClassVar[float | Literal["auto"]] = 20.0
    neutral = {"delta": 0.0, "tau": 0.0, "centers": 1}  # noqa: RUF012

    def target(self, cosine: Tensor, context: Context) -> Tensor:
        """cosine: (B,) similarities; returns (B,)."""
        return cosine - self.delta

    def pool(self, cosine: Tensor) -> Tensor:
        """(B, c, K) → (B, c)."""
        return ((cosine / self.gamma).softmax(-1) * cosine).sum(-1)

    def row_penalty(self, unit_rows: Tensor, num_classes: int) -> Tensor | None:
        """Return the term that merges centres. unit_rows: (c, K, D).

        1e-5 under the root, as in the released code, keeps the gradient finite for equal centres.
        """
        import torch

        if self.tau == 0 or self.centers == 1:
            return None
        first, second = torch.triu_indices(self.centers, self.centers, 1, device=unit_rows.device)
        near = (unit_rows[:, first] * unit_rows[:, second]).sum(-1)
        distances = (2 + 1e-5 - 2 * near).clamp_min(1e-5).sqrt()
        return self.tau * distances.sum() / (num_classes * self.centers * (self.centers - 1))
