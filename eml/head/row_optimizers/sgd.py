"""SGD with momentum, by rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from eml.head.row_optimizers.base import RowOptimizer

if TYPE_CHECKING:
    from torch import Tensor


class SGD(RowOptimizer):
    """b ← μ·b + g + wd·w; w ← w − lr·b, as in torch.optim.SGD. Sutskever 2013, ICML."""

    type: Literal["sgd"] = "sgd"
    momentum: float = Field(0.9, ge=0, lt=1, description="weight μ of the previous steps")

    def initial_state(self, class_weights: Tensor) -> dict[str, Tensor]:
        """Return `momentum`, of the shape of class_weights; nothing if the momentum is 0."""
        return {"momentum": class_weights.detach().new_zeros(class_weights.shape)} if self.momentum else {}

    def update(
        self, rows: Tensor, gradient: Tensor, state: dict[str, Tensor], learning_rate: float, weight_decay: float
    ) -> None:
        """Do one step in place."""
        step = gradient.add(rows, alpha=weight_decay) if weight_decay else gradient
        if self.momentum:
            step = state["momentum"].mul_(self.momentum).add_(step)
        rows.add_(step, alpha=-learning_rate)
