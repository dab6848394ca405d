"""The answers by classes: the best class of each query and its runner-up, with their scores."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eml.retrieval.array_types import Floats, Integers

Method = Literal["nearest", "centroids"]
NEIGHBOURS = 10
"""Nearest images of a query among which the supporters of an answer are counted."""


@dataclass(frozen=True)
class ClassAnswers:
    """The answers to Q queries.

    Attributes:
        best: (Q,) the class with the highest score, −1 without any.
        runner_up: (Q,) the class that comes second, −1 without any.
        score: (Q,) score of the best class, −inf without any.
        runner_up_score: (Q,) score of the runner-up, −inf without any.
        cosine: (Q,) cosine of the nearest image of the best class, −inf without any.
        nearest_row: (Q,) that image's row in the gallery, −1 without any.
        supporters: (Q,) images of the best class among the query's `NEIGHBOURS` nearest images.
        size: (Q,) images of the best class in the gallery.
        method: What the scores are.
    """

    best: Integers
    runner_up: Integers
    score: Floats
    runner_up_score: Floats
    cosine: Floats
    nearest_row: Integers
    supporters: Integers
    size: Integers
    method: Method

    def __len__(self) -> int:
        return len(self.best)

    def of(self, rows: Integers) -> "ClassAnswers":
        """Return the answers to some queries, by position."""
        return ClassAnswers(**{name: values[rows] for name, values in self._arrays().items()}, method=self.method)

    @classmethod
    def join(cls, parts: Sequence["ClassAnswers"]) -> "ClassAnswers":
        """Return the answers of several parts, of one method, one after the other."""
        names = parts[0]._arrays()
        arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        return cls(**arrays, method=parts[0].method)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "method"}

    @property
    def gap(self) -> Floats:
        """(Q,) how far the runner-up's score lies behind; without a runner-up as if its score were −1."""
        behind: Floats = np.maximum(self.score, -1.0) - np.maximum(self.runner_up_score, -1.0)
        return behind

    @property
    def support(self) -> Floats:
        """(Q,) share of the neighbours of the best class that there could be, in [0, 1]."""
        return self.supporters / np.maximum(1, np.minimum(self.size, NEIGHBOURS))
