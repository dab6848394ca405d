"""Linear neck."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from eml.models.necks.base import Neck

if TYPE_CHECKING:
    from torch import nn


class Linear(Neck):
    """A linear layer to D dimensions, then optional BatchNorm, as in ArcFace's BN–Dropout–FC–BN (arXiv:1801.07698)."""

    type: Literal["linear"] = "linear"
    size: int = Field(256, ge=2, le=65536, description="embedding size D")
    batch_norm: bool = Field(True, description="BatchNorm after the layer; evens out the embedding's dimensions")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of features dropped before the layer, in training")

    def build(self, features: int) -> tuple[nn.Module, int]:
        """Return dropout, linear and BatchNorm; D = size."""
        from torch import nn

        layers: list[nn.Module] = [nn.Dropout(self.dropout)] if self.dropout else []
        layers.append(nn.Linear(features, self.size, bias=not self.batch_norm))
        if self.batch_norm:
            layers.append(nn.BatchNorm1d(self.size))
        return nn.Sequential(*layers), self.size
