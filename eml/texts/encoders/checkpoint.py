"""Text encoders in checkpoints of eml: the text tower of the network."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import ClassVar

from eml.errors import CheckpointError
from eml.models.checkpoint import load_checkpoint
from eml.models.pointers import find_checkpoint
from eml.models.text_tower import TextTower
from eml.texts.encoders._towers import TowerEncoder


class CheckpointTexts(TowerEncoder):
    """The text tower of a checkpoint, or of the best one of a run folder."""

    prefix: ClassVar[str] = ""

    @classmethod
    def check(cls, name: str, where: str) -> None:
        """Raise a CheckpointError for a path of no checkpoint."""
        try:
            find_checkpoint(Path(name))
        except CheckpointError as error:
            text = (
                f"`{where}`: {error.problems[0]}; a text encoder is also st:NAME_OR_PATH or open_clip:ARCH/PRETRAINED"
            )
            raise CheckpointError(text, code=error.code, parameter=where) from error

    @cached_property
    def tower(self) -> TextTower:
        """The text tower of the checkpoint's network."""
        return self.tower_of(load_checkpoint(Path(self.name)).embedder)
