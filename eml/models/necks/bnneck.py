"""BNNeck."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from eml.models.necks.base import Neck

if TYPE_CHECKING:
    from torch import nn


class BNNeck(Neck):
    """BatchNorm without a trained shift, between features and class weights.

    Luo 2019, arXiv:1903.07071, section 3.4. The embedding is its output, for training and for search.
    """

    type: Literal["bnneck"] = "bnneck"

    def build(self, features: int) -> tuple[nn.Module, int]:
        """Return BatchNorm; D = F."""
        from torch import nn

        norm = nn.BatchNorm1d(features)
        norm.bias.requires_grad_(False)
        return norm, features
