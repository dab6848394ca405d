"""BNNeck."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from eml.models.necks.base import Neck

if TYPE_CHECKING:
    from torch import nn


class BNNeck(Neck):
    """BatchNorm alone, its shift left out and not trained, between features and class weights.

    Luo 2019, arXiv:1903.07071, section 3.4; the embedding is what comes after it, for training and for search.
    """

    type: Literal["bnneck"] = "bnneck"

    def build(self, features: int) -> tuple[nn.Module, int]:
        """BatchNorm; D = F."""
        from torch import nn

        norm = nn.BatchNorm1d(features)
        norm.bias.requires_grad_(False)
        return norm, features
