"""The base class of necks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eml.config import Choice

if TYPE_CHECKING:
    from torch import nn


class Neck(Choice):
    """Maps pooled features (B, F) to embeddings (B, D)."""

    def build(self, features: int) -> tuple[nn.Module, int]:
        """Return the module for F features, and the embedding size D."""
        raise NotImplementedError
