"""Text encoders of open_clip: the text tower of one of its networks."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

from eml.errors import CheckpointError
from eml.models.backbones import check_backbone
from eml.models.config import ModelConfig
from eml.models.embedder import build_embedder
from eml.models.necks.identity import Identity
from eml.models.text_tower import TextTower
from eml.texts.encoders._towers import TowerEncoder, weights_problem


class OpenClipTexts(TowerEncoder):
    """The text tower of `open_clip:ARCH/PRETRAINED` or `open_clip:local-dir:PATH`, with its pretrained weights."""

    prefix: ClassVar[str] = "open_clip:"

    @classmethod
    def check(cls, name: str, where: str) -> None:
        """Raise a ConfigError if open_clip is not installed, or has no such network."""
        super().check(name, where)
        check_backbone(name, f"`{where}`")

    @cached_property
    def tower(self) -> TextTower:
        """The text tower of the network, with its pretrained weights."""
        config = ModelConfig(backbone=self.name, weights="pretrained", neck=Identity())
        try:
            return self.tower_of(build_embedder(config))
        except CheckpointError as error:
            raise CheckpointError(weights_problem(error.problems[0], self.where)) from error
