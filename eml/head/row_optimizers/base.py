"""What a row-wise optimizer is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eml.config import Choice

if TYPE_CHECKING:
    from torch import Tensor


class RowOptimizer(Choice):
    """Updates rows (n, …) in place, given their gradient and their rows of the state."""

    def initial_state(self, class_weights: Tensor) -> dict[str, Tensor]:
        """State by name, of C rows each."""
        raise NotImplementedError

    def update(
        self, rows: Tensor, gradient: Tensor, state: dict[str, Tensor], learning_rate: float, weight_decay: float
    ) -> None:
        """One step, in place on rows and state; all of them have n rows."""
        raise NotImplementedError
