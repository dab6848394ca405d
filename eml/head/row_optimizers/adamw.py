"""AdamW, by rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from eml.head.row_optimizers.base import RowOptimizer

if TYPE_CHECKING:
    from torch import Tensor


class AdamW(RowOptimizer):
    """Adam with decoupled weight decay, as in torch.optim.AdamW. Loshchilov 2019, arXiv:1711.05101.

    Steps are counted per row: the bias correction of a row's first update is that of a first step.
    """

    type: Literal["adamw"] = "adamw"
    beta1: float = Field(0.9, ge=0, lt=1, description="memory of the mean gradient")
    beta2: float = Field(0.999, ge=0, lt=1, description="memory of the mean squared gradient")
    eps: float = Field(1e-8, gt=0, description="added to the root of the mean squared gradient")

    def initial_state(self, class_weights: Tensor) -> dict[str, Tensor]:
        """Return `mean` and `square`, of the shape of class_weights, and the whole numbers `steps` (C,)."""
        import torch

        plain = class_weights.detach()
        return {
            "mean": plain.new_zeros(plain.shape),
            "square": plain.new_zeros(plain.shape),
            "steps": plain.new_zeros(len(plain), dtype=torch.int64),
        }

    def update(
        self, rows: Tensor, gradient: Tensor, state: dict[str, Tensor], learning_rate: float, weight_decay: float
    ) -> None:
        """Do one step in place."""
        mean, square = state["mean"], state["square"]
        steps = state["steps"].add_(1).view(-1, *[1] * (rows.ndim - 1)).to(mean.dtype)
        gradient = gradient.to(mean.dtype)  # the state is at least float32
        rows.mul_(1 - learning_rate * weight_decay)
        mean.lerp_(gradient, 1 - self.beta1)
        square.mul_(self.beta2).addcmul_(gradient, gradient, value=1 - self.beta2)
        root = (square / (1 - self.beta2**steps)).sqrt_().add_(self.eps)
        rows.sub_(mean.div(root).mul_(learning_rate / (1 - self.beta1**steps)))
