"""Whether training helped: the difference to the untrained network with its interval, and what to try if it did not."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eml.retrieval.statistics import paired


@dataclass(frozen=True)
class Verdict:
    """Of a metric: its mean before and after, the difference, and the bounds of the difference's 95 % interval."""

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
        """What to show: one line if it helped, else what to try as well."""
        told = (
            f"{self.metric} {self.before:.4f} before training, {self.after:.4f} after: {self.difference:+.4f} "
            f"(95 % interval {self.low:+.4f} to {self.high:+.4f}, over {self.classes:,} classes)"
        )
        if self.helped:
            return [told]
        worse = self.high < 0
        what = "Training made it worse" if worse else "Training did not help: the difference may be chance"
        return [
            told,
            f"{what}. The untrained network may serve you better. To try, one at a time: a tenth of "
            "optimizer.lr.backbone; model.freeze, so that early stages stay as they are; fewer epochs; a smaller "
            "head.scale or margin; more classes; a neck of type identity",
        ]


def verdict(metric: str, before: NDArray[np.float64], after: NDArray[np.float64], labels: NDArray[np.int64]) -> Verdict:
    """Paired, over classes, since images of a class are no independent draws: `eml.retrieval.statistics.paired`.

    before, after: (Q,) values per query, NaN for queries that do not count; labels: (Q,).
    """
    found = paired({metric: before}, {metric: after}, labels)[metric]
    return Verdict(metric, found.before, found.after, found.interval.low, found.interval.high, found.interval.classes)
