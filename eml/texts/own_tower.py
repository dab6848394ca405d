"""The text tower of a network that is there already."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from eml.texts.encoders._towers import TowerEncoder

if TYPE_CHECKING:
    from eml.models.text_tower import TextTower


class OwnTower(TowerEncoder):
    """A text tower in memory as a text encoder; no name means it.

    Args:
        tower: The tower.
        name: For messages and the facts of text vectors.
    """

    def __init__(self, tower: TextTower, name: str) -> None:
        super().__init__(name)
        self._own = tower

    @cached_property
    def tower(self) -> TextTower:
        """The tower."""
        return self._own
