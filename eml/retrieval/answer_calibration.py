"""The calibration of answers by classes: the probability that an answer is right, and when it is "unknown".

The probability is P(the answer is right | the query), where a share of the queries, `unknown_share`, is of classes that
are not in the gallery, for which no answer is right. It is the product of P(the query's class is in the gallery) and
P(the answer is right | it is), each a map from the facts of the answer. So the share of unknown queries can be changed
later: it multiplies the odds of the first factor (a shift of the prior; Saerens 2002, Neural Computation 14, 21).
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from eml.config import Strict
from eml.retrieval.answers.maps import FittedMap
from eml.retrieval.array_types import Booleans, Floats
from eml.retrieval.class_scores import ClassAnswers, Method
from eml.retrieval.confidence import CONFIDENCE
from eml.retrieval.log_odds import expit, logit

UNKNOWN_SHARE = 0.2
"""By default one query in five is of an unknown class."""
FAR = 0.05
"""The share of the queries of unknown classes that may be accepted, unless another goal is set."""
ROUNDS, SETS = 500, 2000
UNANSWERED = -2.0
"""The score and the cosine of an answer without any class: below every cosine."""


class CalibratedRate(Strict):
    """A value with its 95 % interval over classes. null: there is no interval."""

    value: float
    low: float | None
    high: float | None


class ReliabilityBin(Strict):
    """The answers whose probability is in [low, high).

    Attributes:
        low: Where the bin begins.
        high: Where the next one begins.
        answers: Their number.
        classes: The number of their classes.
        probability: Their mean probability.
        right: The share of right ones, with its 95 % interval over classes.
    """

    low: float
    high: float
    answers: int
    classes: int
    probability: float
    right: CalibratedRate

    @property
    def is_off(self) -> bool:
        """Whether the mean probability is outside the interval of the share of right answers."""
        low, high = self.right.low, self.right.high
        return low is not None and high is not None and not low <= self.probability <= high


class ScoreDistribution(Strict):
    """The distribution of the known score at calibration, which later answers are compared with.

    Attributes:
        edges: Inner edges of bins of the known score, ascending.
        known: Share of the queries of known classes in each bin.
        unknown: Share of the queries of unknown classes in each bin.
        noise: The largest distance between cumulative shares that 95 of 100 sets of such classes stay below.
    """

    edges: list[float]
    known: list[float]
    unknown: list[float]
    noise: float


class AnswerCalibration(Strict):
    """The maps from answers to probabilities and the threshold of "unknown", with the evidence for them.

    Attributes:
        method: How the classes are scored.
        temperature: Of the method `nearest`.
        known: Map to P(the query's class is in the gallery), for as many known as unknown queries.
        right: Map to P(the answer is right | its class is in the gallery).
        second: P(the runner-up is right | the query's class is in the gallery and the answer is wrong).
        pair: Map from the cosine of an image and one of its nearest images to P(they are of one class).
        unknown_share: Share of the queries whose class is not in the gallery.
        far: The goal: share of the queries of unknown classes that may be accepted.
        threshold: The lowest known score that is accepted.
        false_accepts: The share of accepted queries of unknown classes that is expected of other classes; the interval
            is that of as many other classes.
        class_rates: Share of accepted queries of each unknown class, ascending; of many classes, quantiles.
        accepted: Share of accepted queries of known classes.
        accuracy: Share of right answers among the queries of known classes.
        bins: Reliability: held-out probabilities against shares of right answers.
        ece: Expected calibration error of held-out probabilities.
        scores: The distribution of the known scores.
        gallery: What the queries were answered by.
        counts: known_queries, unknown_queries, known_classes, unknown_classes, gallery_classes and gallery_images.
        fold_thresholds: With a cross-validation: the threshold that each fold alone would give.
        notes: Sentences about what to beware of.
    """

    method: Method
    temperature: float = Field(gt=0)
    known: FittedMap
    right: FittedMap
    second: float
    pair: FittedMap
    unknown_share: float = Field(ge=0, le=1)
    far: float
    threshold: float
    false_accepts: CalibratedRate
    class_rates: list[float]
    accepted: CalibratedRate
    accuracy: CalibratedRate
    bins: list[ReliabilityBin]
    ece: CalibratedRate
    scores: ScoreDistribution
    gallery: Literal["set", "index", "folds"]
    counts: dict[str, int]
    fold_thresholds: dict[str, float] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)

    def with_unknown_share(self, share: float) -> "AnswerCalibration":
        """Return the calibration for another share of unknown queries; bins and error stay those measured."""
        return self.model_copy(update={"unknown_share": share})

    def false_accept_interval(self, classes: int, images: int | None = None) -> tuple[float, float]:
        """Return the ends between which the false-accept rate is expected for 95 of 100 sets of other classes.

        Args:
            classes: The number of unknown classes in a set.
            images: The number of images of each; None: so many that they add no chance of their own.
        """
        return set_interval(self.class_rates, classes, images)

    def known_score(self, answers: ClassAnswers) -> Floats:
        """Return (Q,) the score that tells known from unknown: the higher, the likelier the class is in the gallery."""
        return self.known.predictor(facts_of(answers))

    def known_probability(self, answers: ClassAnswers) -> Floats:
        """Return (Q,) P(the query's class is in the gallery)."""
        with np.errstate(divide="ignore"):
            prior = np.log1p(-self.unknown_share) - np.log(self.unknown_share)
        chance = expit(self.known.log_odds_of(facts_of(answers)) + prior)
        return np.where(answers.best >= 0, chance, 0.0)

    def estimate_unknown_share(self, answers: ClassAnswers) -> float:
        """Return the share of queries of unknown classes under which these answers are likeliest, by EM (Saerens 2002).

        It needs some hundred queries, and that they differ from those at calibration in this share alone.
        """
        odds, share = self.known.log_odds_of(facts_of(answers)), 0.5
        odds = np.where(answers.best >= 0, odds, -np.inf)
        for _ in range(ROUNDS if len(odds) else 0):
            before = share
            share = float(1 - expit(odds + logit(1 - share)).mean())
            if abs(share - before) < 1e-6:
                break
        return share

    def probabilities(self, answers: ClassAnswers) -> tuple[Floats, Floats]:
        """Return (Q,) probabilities that the answer is right, and (Q,) that the runner-up is, which is no higher."""
        known, right = self.known_probability(answers), self.right.probability(facts_of(answers))
        first = known * right
        second = np.minimum(known * (1 - right) * self.second, first)
        return first, np.where(answers.runner_up >= 0, second, 0.0)

    def unknown(self, answers: ClassAnswers) -> Booleans:
        """Return (Q,) whether the query is turned away as of an unknown class."""
        refused: Booleans = (answers.best < 0) | (self.known_score(answers) < self.threshold)
        return refused

    def pair_probability(self, cosines: Floats) -> Floats:
        """Return P(one class) of queries and images found for them, of any shape, by their cosine."""
        values = np.asarray(cosines, np.float64)
        return self.pair.probability({"cosine": np.maximum(values.ravel(), UNANSWERED)}).reshape(values.shape)


def set_interval(rates: Sequence[float], classes: int, images: int | None = None) -> tuple[float, float]:
    """Return the ends between which the mean rate of 95 of 100 sets of other classes lies.

    The classes at hand are some of all classes, and so are those of a set: all classes are drawn by random weights of
    the classes at hand (the Bayesian bootstrap, Rubin 1981, Ann. Statist. 9, 130), and a set is drawn from them.

    Args:
        rates: The rate of each class at hand.
        classes: The number of classes in a set.
        images: The number of images of each, whose accepted number is drawn too; None: the rate is taken as it is.
    """
    random = np.random.default_rng(0)
    of_class, classes = np.asarray(rates, np.float64), max(1, min(classes, 10_000))
    weights = random.dirichlet(np.ones(len(of_class)), SETS)
    counts = np.array([random.multinomial(classes, weight) for weight in weights])  # (SETS, classes at hand)
    if images is None:
        means = counts @ of_class / classes
    else:
        means = random.binomial(counts * images, of_class).sum(1) / (classes * images)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def facts_of(answers: ClassAnswers) -> dict[str, Floats]:
    """Return the facts that the maps may use: fact → (Q,) finite values.

    score of the best class, cosine of its nearest image, gap to the runner-up, support: share of possible neighbours.
    """
    return {
        "score": np.maximum(answers.score, UNANSWERED),
        "cosine": np.maximum(answers.cosine, UNANSWERED),
        "gap": answers.gap,
        "support": answers.support,
    }
