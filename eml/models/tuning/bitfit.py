"""The biases are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from eml.models.tuning.base import Tune, train_only

if TYPE_CHECKING:
    from torch import nn


class BitFit(Tune):
    """Train the biases alone, those of norm layers included. Ben Zaken 2021, arXiv:2106.10199.

    The biases of most convolutional networks are those of their norm layers.
    """

    type: Literal["bitfit"] = "bitfit"

    def apply(self, backbone: nn.Module, name: str) -> None:
        """Freeze all but the biases."""
        biases = {
            key
            for key, parameter in backbone.named_parameters()
            if key.rpartition(".")[2].endswith("bias") and parameter.ndim == 1  # q_bias too, no tables of positions
        }
        train_only(backbone, biases, "biases", name)
