"""Plain softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from eml.margins.base import Context, Margin

if TYPE_CHECKING:
    from torch import Tensor


class Softmax(Margin):
    """w·x + b, a linear classifier without normalisation: the baseline for the margins.

    Bridle 1990, "Probabilistic interpretation of feedforward classification network outputs".
    """

    type: Literal["softmax"] = "softmax"
    formula: ClassVar[str] = "w·x + b"
    paper: ClassVar[str] = "Bridle 1990"
    normalised: ClassVar[bool] = False
    paper_scale: ClassVar[float | Literal["auto"]] = 1.0

    def target(self, cosine: Tensor, context: Context) -> Tensor:
        """Return the dot product unchanged."""
        return cosine
