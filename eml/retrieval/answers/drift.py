"""Drift: whether later answers are distributed as those at calibration."""

from dataclasses import dataclass

import numpy as np
from scipy import special

from eml.retrieval.answer_calibration import AnswerCalibration
from eml.retrieval.arrays import Floats
from eml.retrieval.class_answers import ClassAnswers

SHARES = np.linspace(0, 1, 101)
CHANCE = 0.05


@dataclass(frozen=True)
class Drift:
    """The difference of later answers from those at calibration.

    Attributes:
        queries: Their number.
        unknown_rate: Share of them that is turned away as unknown.
        expected_unknown_rate: The share that would be, with the share of unknown queries that was assumed.
        assumed_share: That share: of queries of unknown classes.
        estimated_share: The share under which these answers are likeliest.
        distance: The largest difference between the cumulative distribution of their known scores and that of any
            mixture of the known and the unknown queries at calibration (Kolmogorov & Smirnov).
        usual: The distance that 95 of 100 sets of so many queries of such classes stay below.
    """

    queries: int
    unknown_rate: float
    expected_unknown_rate: float
    assumed_share: float
    estimated_share: float
    distance: float
    usual: float

    @property
    def is_large(self) -> bool:
        """Whether no mixture of the queries at calibration explains the scores: calibrate again."""
        return self.distance > self.usual

    @property
    def advice(self) -> str:
        """A sentence that says what follows."""
        if self.is_large:
            return (
                "the scores are distributed as no mixture of known and unknown queries at calibration "
                f"(distance {self.distance:.3f}, usual up to {self.usual:.3f}): calibrate again, with such images"
            )
        if abs(self.estimated_share - self.assumed_share) > max(0.1, self.usual):
            return (
                f"about {self.estimated_share:.0%} of the images are of unknown classes, where "
                f"{self.assumed_share:.0%} were assumed: set `unknown_share` to {self.estimated_share:.2g}"
            )
        return "the answers are distributed as at calibration"


def measure_drift(calibration: AnswerCalibration, answers: ClassAnswers) -> Drift:
    """Compare later answers with those at calibration.

    A larger or smaller share of queries of unknown classes is no drift: it is told apart by comparing the scores with
    the mixture of the known and the unknown queries at calibration that fits them best.

    Args:
        calibration: Of the gallery that answers.
        answers: To later queries.
    """
    scores, share = calibration.known_score(answers), calibration.unknown_share
    kept = calibration.scores
    known, unknown = (np.cumsum(shares)[:-1] for shares in (kept.known, kept.unknown))
    count = max(1, len(scores))
    now = np.searchsorted(np.sort(scores), kept.edges, side="left") / count
    distances = np.abs(now - (known + np.outer(SHARES, unknown - known))).max(1, initial=0.0)
    # Both chances are independent: that of so many queries (Kolmogorov's quantile) and that of the classes.
    usual = float(np.hypot(special.kolmogi(CHANCE) / np.sqrt(count), kept.noise))
    accepted = (1 - share) * calibration.accepted.value + share * calibration.false_accepts.value
    return Drift(
        queries=len(scores),
        unknown_rate=_mean(calibration.unknown(answers).astype(np.float64)),
        expected_unknown_rate=1 - accepted,
        assumed_share=share,
        estimated_share=calibration.estimate_unknown_share(answers),
        distance=float(distances.min()),
        usual=usual,
    )


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else 0.0
