"""Low-rank adapters are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from eml.errors import ConfigError
from eml.models.tuning.base import Tune

if TYPE_CHECKING:
    from torch import nn

LEAST_SHARE = 0.25
"""A backbone with a smaller share of its weights in layers that can have adapters would hardly be changed by them."""


class LoRA(Tune):
    """Train a low-rank addition to each linear layer, W + (alpha/rank)·B·A. Hu 2021, arXiv:2106.09685, section 4.1.

    A (rank × inputs) begins with normal random numbers of variance 1/inputs, B (outputs × rank) with 0, so that the
    network begins as it was. W, all biases and norms are frozen. A 1×1 convolution is a linear layer of the channels
    and has an adapter too; larger and grouped convolutions have none. A checkpoint holds W + (alpha/rank)·B·A, so that
    it is a plain network, equal to the validated one to the bit.

    Deviation: with a dropout, layers whose weights a model uses without calling the layer, as BEiT and EVA do,
    are trained without it.
    """

    type: Literal["lora"] = "lora"
    rank: int = Field(8, ge=1, le=1024, description="rank of B·A; at most the layer's inputs or outputs are taken")
    alpha: float = Field(8.0, gt=0, description="B·A is multiplied by alpha/rank")
    layers: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        None,
        description="layers with adapters, by parts of their names between dots, such as [attn] or [qkv, proj]; null: "
        "all linear layers and 1×1 convolutions",
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="share of an adapter's inputs dropped in training")

    def apply(self, backbone: nn.Module, name: str) -> None:
        """Freeze all weights and put adapters into the chosen layers."""
        from eml.models.adapters import can_adapt, put_adapter

        able = {key: module for key, module in backbone.named_modules() if can_adapt(module)}
        chosen = [key for key in able if self.layers is None or set(self.layers) & set(key.split("."))]
        self._check(chosen, list(able), name)
        chosen = [key for key in chosen if able[key].weight.requires_grad]  # the others are in stages that are frozen
        if self.layers is None:
            total = sum(parameter.numel() for parameter in backbone.parameters() if parameter.requires_grad)
            share = sum(able[key].weight.numel() for key in chosen) / max(1, total)
            if share < LEAST_SHARE:
                raise _error(
                    f"tune: lora has adapters for linear layers and 1×1 convolutions, which hold {share:.0%} of the "
                    f"weights of {name} that are not frozen; take full, norm or bitfit"
                )
        backbone.requires_grad_(False)
        for key in chosen:
            put_adapter(backbone, key, rank=self.rank, alpha=self.alpha, dropout=self.dropout)

    def _check(self, chosen: list[str], able: list[str], name: str) -> None:
        """Raise a ConfigError if a part of `layers` is in no name, or nothing is chosen."""
        parts = {part for key in able for part in key.split(".") if not part.isdigit()}
        if unknown := [part for part in self.layers or () if not any(part in key.split(".") for key in able)]:
            raise _error(
                f"tune.layers: {', '.join(map(repr, unknown))} is in no name of a linear layer or 1×1 convolution of "
                f"{name}; parts of their names are: {', '.join(sorted(parts)) or 'none'}",
                "tune.layers",
            )
        if not chosen:
            raise _error(f"tune: {name} has no linear layer and no 1×1 convolution; take full, norm or bitfit")


def _error(text: str, parameter: str = "tune") -> ConfigError:
    return ConfigError(text, code="unsupported-by-backbone", parameter=parameter)
