"""Decide whether training helped, from the difference to the network before training and its interval."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eml.retrieval.statistics import paired
from eml.retrieval.statistics.choice import widened_confidence
from eml.training.starting_point import UNTRAINED


@dataclass(frozen=True)
class Verdict:
    """Whether training improved a metric.

    Attributes:
        metric: Its name in tables.
        before: Its mean for the network before training.
        after: Its mean for the best epoch.
        low: Lower bound of the difference's 95 % interval.
        high: Upper bound.
        classes: Number of classes that the interval is over.
        alike: Whether no query changed.
        few: Whether the classes are too few for more than a hint.
        question: What was measured, such as `unseen classes`.
        start: The network before training: UNTRAINED or FROM_A_RUN.
        more: What more classes say, where these cannot tell.
    """

    metric: str
    before: float
    after: float
    low: float
    high: float
    classes: int
    alike: bool = False
    few: bool = False
    question: str = ""
    start: str = UNTRAINED
    more: str = ""

    @property
    def difference(self) -> float:
        """after − before."""
        return self.after - self.before

    @property
    def helped(self) -> bool:
        """Whether the interval lies above 0."""
        return self.low > 0

    @property
    def is_worse(self) -> bool:
        """Whether the interval lies below 0."""
        return self.high < 0

    def result(self) -> str:
        """Return the difference with its interval, in a line that begins with what was measured."""
        question = f"{self.question}: " if self.question else ""
        return (
            f"{question}{self.metric} {self.before:.4f} before training, {self.after:.4f} after: "
            f"{self.difference:+.4f} (95 % interval {self.low:+.4f} to {self.high:+.4f}, over {self.classes:,} classes)"
        )

    def conclusion(self) -> str:
        """Return what follows where training has not shown to help; nothing where it has."""
        if self.alike:
            return "No query changed: training made no difference"
        if self.is_worse:
            network = "untrained network" if self.start == UNTRAINED else "run that it started from"
            return f"Training made it worse: the {network} serves you better"
        if self.helped:
            return ""
        return self.more or (
            "The data cannot tell whether training helped: the interval includes 0. Validation on more classes narrows "
            "it"
        )

    def lines(self) -> list[str]:
        """Return the lines to show: the difference, and what follows from it."""
        lines = [self.result()]
        if conclusion := self.conclusion():
            lines.append(conclusion)
        elif self.few:
            lines.append(f"Only {self.classes} {'class' if self.classes == 1 else 'classes'}: take this as a hint")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        return asdict(self) | {"difference": self.difference, "helped": self.helped, "worse": self.is_worse}


def verdict(
    metric: str,
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    labels: NDArray[np.int64],
    question: str = "",
    start: str = UNTRAINED,
    *,
    comparisons: int = 1,
) -> Verdict | None:
    """Compare a metric before and after training; None if no query counts.

    The interval is paired and over classes, since images of a class are not independent: see `jackknife.paired`.

    Args:
        metric: Its name in tables.
        before: (Q,) values per query, NaN for queries that do not count.
        after: (Q,) the same after training.
        labels: (Q,) classes of the queries.
        question: What was measured, in a few words.
        start: The network before training: UNTRAINED or FROM_A_RUN.
        comparisons: How many differences were judged on these classes, for which the interval is widened.
    """
    confidence = widened_confidence(comparisons)
    change = paired({metric: before}, {metric: after}, labels, confidence=confidence).get(metric)
    if change is None:
        return None
    interval = change.interval
    return Verdict(
        metric,
        change.before,
        change.after,
        interval.low,
        interval.high,
        interval.classes,
        change.alike,
        interval.few,
        question,
        start,
    )
