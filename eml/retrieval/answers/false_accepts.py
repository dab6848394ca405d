"""The threshold of the known score for a false-accept rate, and what it promises for other classes."""

from dataclasses import dataclass

import numpy as np

from eml.retrieval.arrays import Floats, Integers
from eml.retrieval.verification.calibration import RESAMPLES, choose_threshold
from eml.retrieval.verification.criteria import UnknownScores
from eml.retrieval.verification.goal_checks import Goal

MOST_RATES = 200
SCALE = 8.0  # known scores are squashed to (−1, 1) by tanh(score/8), as the cosines that thresholds are made for


@dataclass(frozen=True)
class KnownScoreChoice:
    """A threshold of the known score.

    Attributes:
        threshold: The lowest known score that is accepted.
        expected: The share of accepted queries that is expected of other classes.
        class_rates: The share of accepted queries of each class.
        notes: Sentences about what to beware of.
    """

    threshold: float
    expected: float
    class_rates: list[float]
    notes: list[str]


def choose_known_score(scores: Floats, classes: Integers, far: float, seed: int) -> KnownScoreChoice:
    """Choose the threshold that other classes are expected to keep to, see `choose_threshold`.

    Args:
        scores: (U,) known scores of the queries of unknown classes.
        classes: (U,) their classes, any integers.
        far: The share of them that may be accepted.
        seed: Of the resamples.
    """
    codes = np.unique(classes, return_inverse=True)[1].astype(np.int64)
    squashed = np.tanh(scores / SCALE)
    order = np.argsort(-squashed, kind="stable")
    criterion = UnknownScores(squashed[order], codes[order], int(codes.max()) + 1)
    choice = choose_threshold(criterion, Goal("far", far), RESAMPLES, seed)
    value, notes = choice.threshold.value, []
    if np.isnan(value):
        value = float(np.nextafter(np.float32(squashed.max()), np.float32(2)))
        notes = [
            f"the classes differ too much for a false-accept rate of {far:g}: even a threshold above all of their "
            f"scores is expected to accept {choice.expected:.2g} of other classes; calibrate with more classes"
        ]
    threshold = float(SCALE * np.arctanh(min(value, 1 - 1e-15)))
    return KnownScoreChoice(threshold, choice.expected, _class_rates(criterion, value, choice.expected), notes)


def _class_rates(criterion: UnknownScores, threshold: float, expected: float) -> list[float]:
    """Return the share of accepted queries of each class, scaled to the share that is expected of other classes.

    Of more than `MOST_RATES` classes, as many quantiles.
    """
    accepted = np.bincount(criterion.labels, criterion.similarity >= threshold, minlength=criterion.classes)
    rates = np.sort(accepted / np.bincount(criterion.labels, minlength=criterion.classes))
    rates *= expected / rates.mean() if 0 < rates.mean() < expected else 1.0
    if len(rates) > MOST_RATES:
        rates = np.quantile(rates, np.linspace(0, 1, MOST_RATES))
    return [float(rate) for rate in rates.clip(0, 1)]
