"""Class weights that begin at the classes' text vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from eml.head.inits.base import ClassVectors, HeadInit

if TYPE_CHECKING:
    from torch import Tensor


class TextInit(HeadInit):
    """Class weights are the text vectors of `class_texts`, centred and turned into the space of the embeddings.

    All cosines between them stay, so that classes with similar texts begin near each other; where they lie is random.
    """

    type: Literal["text"] = "text"
    check: bool = Field(
        True,
        description="begin at random where classes with similar texts do not look alike to the starting network (a "
        "permutation test), since the texts say nothing then",
    )

    def rows(self, vectors: ClassVectors) -> Tensor | None:
        """Return the text vectors (C, D), or None where the check fails."""
        return vectors.texts(check=self.check)
