"""Maps from facts about an answer to a probability: logistic regression and isotonic regression, as plain numbers."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from eml.config import Strict
from eml.retrieval.array_types import Booleans, Floats, Integers
from eml.retrieval.log_odds import expit, logit

FOLDS = 5
PENALTY = 1.0  # inverse strength of the ridge on standardised facts: finite weights even where a fact separates all
EVEN = 1e-9  # a spread of a fact below it says nothing


class FittedMap(Strict):
    """A map from facts to a probability.

    Attributes:
        kind: `logistic`: the log odds are the predictor bias + Σ weight·fact; `isotonic`: they are interpolated between
            the predictor's knots, constant beyond them.
        weights: Fact → weight, all 0 or more: a higher fact never lowers the probability.
        bias: Of the predictor.
        knots: Predictor's values, ascending; for isotonic.
        log_odds: Log odds at the knots.
        limit: The log odds stay within ±limit, since so many answers cannot show more.
    """

    kind: Literal["logistic", "isotonic"]
    weights: dict[str, float]
    bias: float
    knots: list[float] = Field(default_factory=list)
    log_odds: list[float] = Field(default_factory=list)
    limit: float

    def predictor(self, facts: Mapping[str, Floats]) -> Floats:
        """Return (Q,) bias + Σ weight·fact. facts: fact → (Q,) values."""
        total: Floats = self.bias + sum(
            (weight * np.asarray(facts[name], np.float64) for name, weight in self.weights.items()),
            np.zeros(len(next(iter(facts.values())))),
        )
        return total

    def log_odds_of(self, facts: Mapping[str, Floats]) -> Floats:
        """Return (Q,) log odds. facts: fact → (Q,) values."""
        values = self.predictor(facts)
        if self.kind == "isotonic":
            values = np.interp(values, self.knots, self.log_odds)
        clipped: Floats = np.clip(values, -self.limit, self.limit)
        return clipped

    def probability(self, facts: Mapping[str, Floats]) -> Floats:
        """Return (Q,) probabilities. facts: fact → (Q,) values."""
        return expit(self.log_odds_of(facts))


class HeldOut(NamedTuple):
    """The log odds (N,) and the predictors (N,) of answers by maps that were fitted without their classes."""

    log_odds: Floats
    predictor: Floats


def fit_logistic(facts: Mapping[str, Floats], right: Booleans, weights: Floats) -> FittedMap:
    """Fit a logistic regression whose weights are not negative.

    Args:
        facts: Fact → (N,) values. A fact with a negative weight is left out, and the others are fitted again.
        right: (N,) what is predicted.
        weights: (N,) how much each counts; their sum is taken as the number of answers.
    """
    from sklearn.linear_model import LogisticRegression

    limit = _limit(weights)
    names = [name for name, values in facts.items() if np.ptp(values) > EVEN] if len(right) else []
    share = (float(weights @ right) + 0.5) / (float(weights.sum()) + 1)
    while names and 0 < weights @ right < weights.sum():
        columns = np.stack([facts[name] for name in names], 1)
        mean = np.average(columns, axis=0, weights=weights)
        spread = np.sqrt(np.average((columns - mean) ** 2, axis=0, weights=weights)).clip(EVEN)
        fitted = LogisticRegression(C=PENALTY, solver="newton-cholesky", max_iter=200)
        fitted.fit((columns - mean) / spread, right, sample_weight=weights)
        slopes = fitted.coef_[0] / spread
        if (slopes >= 0).all():
            bias = float(fitted.intercept_[0] - slopes @ mean)
            return FittedMap(kind="logistic", weights=_plain(names, slopes), bias=bias, limit=limit)
        names.pop(int(np.argmin(fitted.coef_[0])))
    constant = dict.fromkeys(facts, 0.0)
    return FittedMap(kind="logistic", weights=constant, bias=float(logit(share)), limit=limit)


def fit_isotonic(facts: Mapping[str, Floats], right: Booleans, weights: Floats) -> FittedMap:
    """Fit an isotonic regression on the predictor of a logistic one; with the arguments of `fit_logistic`."""
    from sklearn.isotonic import IsotonicRegression

    line = fit_logistic(facts, right, weights)
    values = line.predictor(facts)
    if len(values) < 2 or np.ptp(values) < EVEN:
        return line
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(values, right, sample_weight=weights)
    knots, shares = np.asarray(fitted.X_thresholds_, float), np.asarray(fitted.y_thresholds_, float)
    log_odds = np.clip(logit(np.clip(shares, 1e-12, 1 - 1e-12)), -line.limit, line.limit)
    return line.model_copy(update={"kind": "isotonic", "knots": knots.tolist(), "log_odds": log_odds.tolist()})


def _limit(weights: Floats) -> float:
    """Return the largest log odds that so many answers can show: those of 1 − 1/(N + 2), the rule of succession."""
    return float(np.log(weights.sum() + 1))


def _plain(names: Sequence[str], slopes: Floats) -> dict[str, float]:
    return {name: float(slope) for name, slope in zip(names, slopes, strict=True)}


FITS = {"logistic": fit_logistic, "isotonic": fit_isotonic}
"""Kind → how it is fitted, the simplest first."""

Candidate = tuple[str, tuple[str, ...]]
"""A kind, and the facts that it is fitted to."""


def choose_map(
    candidates: Sequence[Candidate],
    facts: Mapping[str, Floats],
    right: Booleans,
    weights: Floats,
    classes: Integers,
    groups: Integers,
) -> tuple[FittedMap, HeldOut]:
    """Choose the map by its likelihood on held-out classes, and fit it to all.

    The first candidate whose loss is no more than one standard error above the lowest one is taken; the standard error
    is of the difference of the two losses, with classes as blocks. With few classes that is the simplest one.

    Args:
        candidates: The simplest first.
        facts: Fact → (N,) values.
        right: (N,) what is predicted.
        weights: (N,) how much each counts.
        classes: (N,) integers.
        groups: (N,) integers; the answers of a group, such as a class, are held out together: more than five groups in
            five random parts.

    Returns:
        The map, and what the same kind of map says of each answer without its class.
    """
    held_out = [_held_out(candidate, facts, right, weights, groups) for candidate in candidates]
    codes = np.unique(classes, return_inverse=True)[1]
    losses = np.array([np.bincount(codes, weights * _loss(values.log_odds, right)) for values in held_out])  # (K, C)
    best = int(losses.sum(1).argmin())
    differences = losses - losses[best]
    errors = np.sqrt(differences.shape[1] * differences.var(1, ddof=min(1, differences.shape[1] - 1)))
    chosen = int(np.flatnonzero(losses.sum(1) <= losses[best].sum() + errors)[0])
    return _fit(candidates[chosen], facts, right, weights), held_out[chosen]


def held_out_loss(log_odds: Floats, right: Booleans, weights: Floats) -> float:
    """Return the weighted mean log loss of held-out log odds (N,)."""
    return float(np.average(_loss(log_odds, right), weights=weights))


def _loss(log_odds: Floats, right: Booleans) -> Floats:
    loss: Floats = np.logaddexp(0, np.where(right, -log_odds, log_odds))
    return loss


def _fit(candidate: Candidate, facts: Mapping[str, Floats], right: Booleans, weights: Floats) -> FittedMap:
    kind, names = candidate
    return FITS[kind]({name: facts[name] for name in names}, right, weights)


def _held_out(
    candidate: Candidate, facts: Mapping[str, Floats], right: Booleans, weights: Floats, groups: Integers
) -> HeldOut:
    codes = np.unique(groups, return_inverse=True)[1]
    count = int(codes.max()) + 1 if len(codes) else 0
    fold_of = np.random.default_rng(0).permutation(count) % FOLDS
    values = HeldOut(np.zeros(len(codes)), np.zeros(len(codes)))
    for fold in range(min(FOLDS, count)):
        inside = fold_of[codes] == fold
        rest = ~inside if count > 1 else inside
        fitted = _fit(candidate, _rows(facts, rest), right[rest], weights[rest])
        values.log_odds[inside] = fitted.log_odds_of(_rows(facts, inside))
        values.predictor[inside] = fitted.predictor(_rows(facts, inside))
    return values


def _rows(facts: Mapping[str, Floats], rows: Booleans) -> dict[str, Floats]:
    return {name: values[rows] for name, values in facts.items()}
