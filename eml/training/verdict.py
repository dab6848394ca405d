"""Decide whether training helped, from the difference to the untrained network and its interval."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eml.retrieval.statistics import paired


@dataclass(frozen=True)
class Verdict:
    """Whether training improved a metric.

    Attributes:
        metric: Its name in tables.
        before: Its mean for the untrained network.
        after: Its mean for the best epoch.
        low: Lower bound of the difference's 95 % interval.
        high: Upper bound.
        classes: Number of classes that the interval is over.
    """

    metric: str
    before: float
    after: float
    low: float
    high: float
    classes: int

    @property
    def difference(self) -> float:
        """after − before."""
        return self.after - self.before

    @property
    def helped(self) -> bool:
        """Whether the interval lies above 0."""
        return self.low > 0

    def lines(self) -> list[str]:
        """Return the lines to show: the difference, and what to try if training did not help."""
        difference = (
            f"{self.metric} {self.before:.4f} before training, {self.after:.4f} after: {self.difference:+.4f} "
            f"(95 % interval {self.low:+.4f} to {self.high:+.4f}, over {self.classes:,} classes)"
        )
        if self.helped:
            return [difference]
        worse = self.high < 0
        conclusion = "Training made it worse" if worse else "Training did not help: the difference may be chance"
        return [
            difference,
            f"{conclusion}. The untrained network may serve you better. To try, one at a time: a tenth of "
            "optimizer.lr.backbone; model.freeze, which keeps early stages unchanged; fewer epochs; a smaller "
            "head.scale or margin; more classes; a neck of type identity",
        ]


def verdict(metric: str, before: NDArray[np.float64], after: NDArray[np.float64], labels: NDArray[np.int64]) -> Verdict:
    """Compare a metric before and after training.

    The interval is paired and over classes, since images of a class are not independent: see `jackknife.paired`.

    Args:
        metric: Its name in tables.
        before: (Q,) values per query, NaN for queries that do not count.
        after: (Q,) the same after training.
        labels: (Q,) classes of the queries.
    """
    change = paired({metric: before}, {metric: after}, labels)[metric]
    return Verdict(
        metric, change.before, change.after, change.interval.low, change.interval.high, change.interval.classes
    )
