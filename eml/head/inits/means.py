"""Class weights that begin as the mean embedding of each class's images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from eml.head.inits.base import ClassVectors, HeadInit

if TYPE_CHECKING:
    from torch import Tensor


class MeansInit(HeadInit):
    """Class weights are the mean embeddings of some images of each class. Qi 2018, arXiv:1712.07136."""

    type: Literal["means"] = "means"

    def rows(self, vectors: ClassVectors) -> Tensor | None:
        """Return the unit means (C, D)."""
        return vectors.means()
