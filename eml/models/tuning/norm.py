"""The norm layers are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from eml.models.tuning.base import Tune, train_only

if TYPE_CHECKING:
    from torch import nn


class Norm(Tune):
    """Train scale and shift of the norm layers alone. Frankle 2021, arXiv:2003.00152.

    Norm layers are BatchNorm, LayerNorm, GroupNorm, RMSNorm and what timm makes of them. `model.batch_norm: frozen`
    keeps the statistics of BatchNorm, and scale and shift are trained all the same.
    """

    type: Literal["norm"] = "norm"

    def apply(self, backbone: nn.Module, name: str) -> None:
        """Freeze all but the parameters of norm layers."""
        own = {
            f"{key}.{parameter}" if key else parameter
            for key, module in backbone.named_modules()
            if "norm" in type(module).__name__.lower()
            for parameter, value in module.named_parameters(recurse=False)
            if value.ndim <= 1
        }
        train_only(backbone, own, "norm layers with parameters", name)
