"""The base of the row-wise optimizers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eml.config import Choice

if TYPE_CHECKING:
    from torch import Tensor


class RowOptimizer(Choice):
    """An optimizer that updates rows (n, …) in place from their gradient and their rows of the state."""

    def initial_state(self, class_weights: Tensor) -> dict[str, Tensor]:
        """Return the state by name; each tensor has C rows."""
        raise NotImplementedError

    def update(
        self, rows: Tensor, gradient: Tensor, state: dict[str, Tensor], learning_rate: float, weight_decay: float
    ) -> None:
        """Do one step in place on rows and state. All tensors have n rows."""
        raise NotImplementedError
