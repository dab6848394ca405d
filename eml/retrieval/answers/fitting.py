"""Fit the calibration of answers to answers whose truth is known, and check it on held-out classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from eml.errors import DataError
from eml.retrieval.answer_calibration import (
    FAR,
    UNKNOWN_SHARE,
    AnswerCalibration,
    CalibratedRate,
    facts_of,
    set_interval,
)
from eml.retrieval.answers.false_accepts import KnownScoreChoice, choose_known_score
from eml.retrieval.answers.maps import Candidate, FittedMap, choose_map, held_out_loss
from eml.retrieval.answers.reliability import expected_error, rate_of, reliability_bins, share
from eml.retrieval.answers.samples import SEED, AnswerSample
from eml.retrieval.answers.score_distribution import describe_scores
from eml.retrieval.arrays import Booleans, Floats, Integers

ALL: tuple[str, ...] = ("score", "gap", "support")
KNOWN_MAPS: tuple[Candidate, ...] = (
    ("logistic", ("score",)),
    ("logistic", ALL),
    ("isotonic", ("score",)),
    ("isotonic", ALL),
)
RIGHT_MAPS: tuple[Candidate, ...] = (
    ("logistic", ("gap",)),
    ("logistic", ALL),
    ("isotonic", ("gap",)),
    ("isotonic", ALL),
)
PAIR_MAPS: tuple[Candidate, ...] = (("logistic", ("cosine",)), ("isotonic", ("cosine",)))
FEWEST_CLASSES = 4


@dataclass(frozen=True)
class _Rows:
    """All answers of a sample, the known ones first.

    Attributes:
        facts: Fact → (N,) values.
        known: (N,) whether the query's class is in the gallery.
        right: (N,) whether the answer is right.
        classes: (N,) integers.
        groups: (N,) what is held out together.
        own_weights: (N,) how much each counts among those of its kind.
    """

    facts: dict[str, Floats]
    known: Booleans
    right: Booleans
    classes: Integers
    groups: Integers
    own_weights: Floats

    def weights(self, unknown_share: float) -> Floats:
        """Return (N,) weights of mean 1 with which that share of the weight is of unknown queries."""
        own, known = self.own_weights, self.known
        shares = np.where(known, (1 - unknown_share) / own[known].sum(), unknown_share / own[~known].sum())
        weights: Floats = len(own) * own * shares
        return weights


@dataclass(frozen=True)
class _Fitted:
    """The maps fitted to a sample, with held-out log odds (N,) of both, and held-out known scores (N,)."""

    sample: AnswerSample
    rows: _Rows
    known: FittedMap
    right: FittedMap
    known_odds: Floats
    right_odds: Floats
    scores: Floats

    def probability(self, unknown_share: float) -> Floats:
        """Return (N,) held-out probabilities that the answer is right."""
        with np.errstate(divide="ignore"):
            prior = np.log1p(-unknown_share) - np.log(unknown_share)
        chance: Floats = special.expit(self.known_odds + prior) * special.expit(self.right_odds)
        return chance

    def loss(self) -> float:
        """Return the held-out log loss, for as many known as unknown queries."""
        chance = self.probability(0.5)
        return held_out_loss(special.logit(chance), self.rows.right, self.rows.weights(0.5))


def fit_answers(
    samples: Sequence[AnswerSample],
    *,
    far: float = FAR,
    unknown_share: float = UNKNOWN_SHARE,
    gallery: Literal["set", "index", "folds"] = "set",
    groups: Integers | None = None,
    seed: int = SEED,
) -> AnswerCalibration:
    """Fit the maps and the threshold, by the scoring that calibrates best on held-out classes.

    Args:
        samples: The same queries answered by several scorings.
        far: The goal: share of the queries of unknown classes that may be accepted.
        unknown_share: Share of the queries whose class is not in the gallery, in use.
        gallery: What the queries were answered by.
        groups: Class → what is held out together with it, such as its fold; None: five random parts of the classes.
        seed: Of the resamples.

    Raises:
        DataError: There are fewer than 4 classes, or no known or no unknown queries.
    """
    _check(samples[0])
    fitted = min((_fit(sample, groups) for sample in samples), key=_Fitted.loss)
    sample, rows = fitted.sample, fitted.rows
    score = fitted.known.predictor(rows.facts)
    unknown = ~rows.known
    choice = choose_known_score(fitted.scores[unknown], rows.classes[unknown], far, seed)
    weights, chance = rows.weights(unknown_share), fitted.probability(unknown_share)
    known = rows.known
    own = sample.known_weights
    return AnswerCalibration(
        method=sample.scoring.method,
        temperature=sample.scoring.temperature,
        known=fitted.known,
        right=fitted.right,
        second=float((sample.second_right.sum() + 1) / ((~sample.right).sum() + 2)),
        pair=_fit_pairs(sample, rows, unknown_share),
        unknown_share=unknown_share,
        far=far,
        threshold=choice.threshold,
        false_accepts=_expected(choice),
        class_rates=choice.class_rates,
        accepted=rate_of(share(fitted.scores[known] >= choice.threshold, own, rows.classes[known])),
        accuracy=rate_of(share(sample.right, own, rows.classes[known])),
        bins=reliability_bins(chance, rows.right, weights, rows.classes),
        ece=rate_of(expected_error(chance, rows.right, weights, rows.classes)),
        scores=describe_scores(score, known, rows.own_weights, rows.classes, seed),
        gallery=gallery,
        counts=_counts(sample),
        fold_thresholds={} if groups is None else _fold_thresholds(fitted, far, seed),
        notes=choice.notes,
    )


def _check(sample: AnswerSample) -> None:
    classes = len(np.unique(sample.unknown_classes))
    if classes < FEWEST_CLASSES or not len(sample.known):
        text = f"{classes} classes with answers: probabilities of answers need at least {FEWEST_CLASSES}"
        text = text if classes < FEWEST_CLASSES else "no query has an image of its class in the gallery"
        raise DataError(text, code="too-few-classes")


def _fit(sample: AnswerSample, groups: Integers | None) -> _Fitted:
    known, unknown = facts_of(sample.known), facts_of(sample.unknown)
    count, strangers = len(sample.known), len(sample.unknown)
    classes = np.concatenate([sample.known_classes, sample.unknown_classes])
    rows = _Rows(
        facts={name: np.concatenate([known[name], unknown[name]]) for name in known},
        known=np.repeat([True, False], [count, strangers]),
        right=np.concatenate([sample.right, np.zeros(strangers, bool)]),
        classes=classes,
        groups=classes if groups is None else groups[classes],
        own_weights=np.concatenate([sample.known_weights, np.ones(strangers)]),
    )
    even, of_known = rows.weights(0.5), rows.own_weights * rows.known
    known_map, of_known_map = choose_map(KNOWN_MAPS, rows.facts, rows.known, even, rows.classes, rows.groups)
    right_map, of_right_map = choose_map(RIGHT_MAPS, rows.facts, rows.right, of_known, rows.classes, rows.groups)
    return _Fitted(
        sample, rows, known_map, right_map, of_known_map.log_odds, of_right_map.log_odds, of_known_map.predictor
    )


def _fit_pairs(sample: AnswerSample, rows: _Rows, unknown_share: float) -> FittedMap:
    """Fit the map of pairs to the nearest images of all queries."""
    present = sample.near_cosines > -np.inf
    query = np.nonzero(present)[0]
    same = sample.near_same[present]
    facts = {"cosine": sample.near_cosines[present].astype(np.float64)}
    weights = rows.weights(unknown_share)[query]
    return choose_map(PAIR_MAPS, facts, same, weights, rows.classes[query], rows.groups[query])[0]


def _fold_thresholds(fitted: _Fitted, far: float, seed: int) -> dict[str, float]:
    """Return the threshold that the unknown queries of each fold alone would give."""
    rows, thresholds = fitted.rows, {}
    for fold in np.unique(rows.groups).tolist():
        part = (rows.groups == fold) & ~rows.known
        choice = choose_known_score(fitted.scores[part], rows.classes[part], far, seed)
        thresholds[str(fold)] = choice.threshold
    return thresholds


def _expected(choice: KnownScoreChoice) -> CalibratedRate:
    low, high = set_interval(choice.class_rates, len(choice.class_rates))
    return CalibratedRate(value=choice.expected, low=low, high=high)


def _counts(sample: AnswerSample) -> dict[str, int]:
    return {
        "known_queries": len(sample.known),
        "unknown_queries": len(sample.unknown),
        "known_classes": len(np.unique(sample.known_classes)),
        "unknown_classes": len(np.unique(sample.unknown_classes)),
        "gallery_classes": sample.gallery_classes,
        "gallery_images": sample.gallery_images,
    }
