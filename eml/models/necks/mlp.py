"""A neck of two layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from eml.models.necks.base import Neck

if TYPE_CHECKING:
    from torch import nn


class MLP(Neck):
    """Linear, BatchNorm, ReLU, linear: the projection of Chen 2020, arXiv:2002.05709, section 4.2."""

    type: Literal["mlp"] = "mlp"
    size: int = Field(256, ge=2, le=65536, description="embedding size D")
    hidden: int = Field(1024, ge=2, le=65536, description="size of the hidden layer")

    def build(self, features: int) -> tuple[nn.Module, int]:
        """Return the two layers; D = size."""
        from torch import nn

        layers = nn.Sequential(
            nn.Linear(features, self.hidden, bias=False),
            nn.BatchNorm1d(self.hidden),
            nn.ReLU(inplace=True),
            nn.Linear(self.hidden, self.size),
        )
        return layers, self.size
