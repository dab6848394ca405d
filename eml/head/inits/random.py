"""Class weights that begin at random."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from eml.head.inits.base import ClassVectors, HeadInit

if TYPE_CHECKING:
    from torch import Tensor


class RandomInit(HeadInit):
    """Class weights are drawn from a normal distribution, about of unit length."""

    type: Literal["random"] = "random"

    def rows(self, vectors: ClassVectors) -> Tensor | None:
        """Return None."""
        return None
