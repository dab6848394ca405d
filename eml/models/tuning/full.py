"""All weights are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from eml.models.tuning.base import Tune

if TYPE_CHECKING:
    from torch import nn


class Full(Tune):
    """Train all weights of the backbone, but for those that `model.freeze` and rates of 0 leave out."""

    type: Literal["full"] = "full"

    def apply(self, backbone: nn.Module, name: str) -> None:
        """Leave the backbone as it is."""
