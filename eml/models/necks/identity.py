"""No neck."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from eml.models.necks.base import Neck

if TYPE_CHECKING:
    from torch import nn


class Identity(Neck):
    """The pooled features are the embedding."""

    type: Literal["identity"] = "identity"

    def build(self, features: int) -> tuple[nn.Module, int]:
        """Return the identity; D = F."""
        from torch import nn

        return nn.Identity(), features
