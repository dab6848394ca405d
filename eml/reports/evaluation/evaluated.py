"""What the report asks of an evaluation; `eml.evaluation.evaluate.Evaluation` has it."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from eml.dataset.table import Table
from eml.retrieval.metrics import Summary

Integers = NDArray[np.int64]


class Wanted(Protocol):
    """See eml.training.data.RetrievalSet."""

    @property
    def frame(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def labels(self) -> Integers: ...  # noqa: D102
    @property
    def queries(self) -> Integers: ...  # noqa: D102
    @property
    def gallery(self) -> Integers: ...  # noqa: D102
    @property
    def protocol(self) -> str: ...  # noqa: D102
    @property
    def groups(self) -> Integers | None: ...  # noqa: D102
    @property
    def within(self) -> Integers | None: ...  # noqa: D102


class Evaluated(Protocol):
    """One model on one set. embeddings: (N, D) of the set's frame."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def table(self) -> Table: ...  # noqa: D102
    @property
    def wanted(self) -> Wanted: ...  # noqa: D102
    @property
    def embeddings(self) -> Tensor: ...  # noqa: D102
    @property
    def summary(self) -> Summary: ...  # noqa: D102
    @property
    def threshold(self) -> float | None: ...  # noqa: D102

    def facts(self) -> dict[str, Any]:
        """What metrics.json says."""


class Found(Protocol):
    """See eml.evaluation.analysis.Findings."""

    @property
    def evaluation(self) -> Evaluated: ...  # noqa: D102
    @property
    def roc(self) -> Mapping[str, Sequence[float]]: ...  # noqa: D102


def class_names(wanted: Wanted) -> list[str]:
    """The name of each label 0…C−1."""
    names = wanted.frame["label"].to_numpy(str)
    first = np.unique(wanted.labels, return_index=True)[1]
    return [str(name) for name in names[first]]
