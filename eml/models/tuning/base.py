"""The base class of the ways to tune a backbone."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from eml.config import Choice
from eml.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn


class Tune(Choice):
    """Chooses which of the backbone's weights are trained. Neck and class weights are trained in each case."""

    def apply(self, backbone: nn.Module, name: str) -> None:
        """Freeze the weights that are not trained, and put in those that are trained in their place.

        Weights that are frozen already, such as those of `model.freeze`, stay so.

        Args:
            backbone: Of timm, with its weights; changed in place.
            name: Its name, for messages.

        Raises:
            ConfigError: The backbone has no such weights.
        """
        raise NotImplementedError


def train_only(backbone: nn.Module, trained: Collection[str], kind: str, name: str) -> None:
    """Freeze all parameters of a backbone but some, and those only if they are not frozen already.

    Args:
        backbone: Changed in place.
        trained: Names of the parameters.
        kind: What they are, in the plural, for the message.
        name: Of the backbone.

    Raises:
        ConfigError: None is left to train.
    """
    for key, parameter in backbone.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and key in trained)
    if not any(parameter.requires_grad for parameter in backbone.parameters()):
        raise ConfigError(
            f"tune: {name} has no {kind} that could be trained; take another way to tune it, such as full",
            code="unsupported-by-backbone",
            parameter="tune",
        )
