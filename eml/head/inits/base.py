"""The base of the ways in which class weights begin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from eml.config import Choice

if TYPE_CHECKING:
    from torch import Tensor


class ClassVectors(Protocol):
    """Vectors of a run's C classes in the space of the embeddings, each computed when it is asked for."""

    def means(self) -> Tensor:
        """Return (C, D) unit means of the starting network's embeddings of each class's images."""

    def texts(self, *, check: bool) -> Tensor | None:
        """Return (C, D) unit text vectors, projected; with `check` None where they do not fit what images show."""


class HeadInit(Choice):
    """The vectors that class weights begin at."""

    def rows(self, vectors: ClassVectors) -> Tensor | None:
        """Return (C, D) vectors of unit length; None for the random ones that the head has already."""
        raise NotImplementedError
