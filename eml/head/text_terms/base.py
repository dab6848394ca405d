"""The base of the terms that class texts add to the loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from eml.config import Choice

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TextInputs:
    """A batch of all processes, as a term sees it.

    Attributes:
        embeddings: (B, D) of unit length, with their graph.
        labels: (B,) classes.
        texts: (B, D) text vectors of the labels, of unit length.
        cosine: Returns (B,) cosines between the class weights of the labels and their text vectors, with their graph;
            with several centres of a class that of the nearest one.
    """

    embeddings: Tensor
    labels: Tensor
    texts: Tensor
    cosine: Callable[[], Tensor]


class TextTerm(Choice):
    """A term of the loss from the texts of the classes."""

    weight: float = Field(1.0, gt=0, description="factor on the term, at the first step")
    decay: float = Field(
        0.0,
        ge=0,
        description="the factor falls in a straight line, weight·max(0, 1 − decay·t), t from 0 at the first step to 1 "
        "at the last; 0: constant; 1: 0 at the end; 2: 0 from the middle on",
    )
    check: bool = Field(
        True,
        description="leave the term out where classes with similar texts do not look alike to the starting network (a "
        "permutation test), since the texts say nothing then",
    )

    takes_mixed: ClassVar[bool] = True
    """Whether it is defined for images with two labels."""

    def factor(self, progress: float) -> float:
        """weight·max(0, 1 − decay·progress). progress: of the training, 0 at its first step and 1 at its last."""
        return self.weight * max(0.0, 1.0 - self.decay * progress)

    def penalty(self, inputs: TextInputs) -> Tensor:
        """Return what is added to the losses (B,), before its factor."""
        raise NotImplementedError
