"""A linear neck that begins as the identity, and that projections which were learnt in closed form are put into."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from eml.errors import ConfigError
from eml.models.necks.base import Neck

if TYPE_CHECKING:
    from torch import nn


class Projection(Neck):
    """One linear layer with bias: at first the identity, or its first D rows.

    A whitening within classes or principal components, learnt in closed form, become its weights (`eml.models.fold`).
    """

    type: Literal["projection"] = "projection"
    size: int | None = Field(None, ge=2, le=65536, description="embedding size D, at most F; null: F")

    def build(self, features: int) -> tuple[nn.Module, int]:
        """Return the layer; D = size."""
        from torch import nn

        if self.size is not None and self.size > features:
            text = f"model.neck.size must be at most {features:,}, the backbone's number of features, got {self.size:,}"
            raise ConfigError(text, code="out-of-range", parameter="model.neck.size")
        layer = nn.Linear(features, self.size or features)
        nn.init.eye_(layer.weight)
        nn.init.zeros_(layer.bias)
        return layer, layer.out_features
