"""What a neck is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eml.config import Choice

if TYPE_CHECKING:
    from torch import nn


class Neck(Choice):
    """Maps pooled features (B, F) to embeddings (B, D)."""

    def build(self, features: int) -> tuple[nn.Module, int]:
        """The module for F features, and D."""
        raise NotImplementedError
