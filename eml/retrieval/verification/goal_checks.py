"""Goals of a calibration, whether images can support one, and what to beware of if they hardly can."""

from dataclasses import dataclass
from math import ceil, floor, isnan, log10
from typing import Literal

import numpy as np

from eml.errors import DataError, Problem
from eml.retrieval.arrays import Booleans, Floats, Integers
from eml.retrieval.statistics import FEW_CLASSES
from eml.retrieval.verification.criteria import Criterion, TopAnswers
from eml.retrieval.verification.thresholds import ends_of_ties

FEWEST_CLASSES = 4  # two in each half
FEW_ERRORS = 30  # for a rate within ±30 % with 90 % confidence: the rule of 30 (Doddington 2000)

Kind = Literal["far", "pair_far", "precision"]
TRIALS: dict[Kind, tuple[str, str]] = {
    "far": ("unknown_queries", "queries"),
    "pair_far": ("different_pairs", "pairs of different classes"),
    "precision": ("known_queries", "queries with a positive"),
}
"""Kind of a goal → key of the count of trials that its rate is a share of, and what these are."""


@dataclass(frozen=True)
class Goal:
    """The rate that a threshold shall keep to.

    Attributes:
        kind: `far` is the share of unknown queries (whose class is not in the gallery) that are accepted, at most;
            `pair_far` the share of pairs of different classes that are accepted, at most; `precision` the share of
            right answers among the accepted nearest images of known queries (whose class is in the gallery), at least.
        value: In (0, 1).
    """

    kind: Kind
    value: float

    @property
    def error_rate(self) -> float:
        """The share of errors that the goal allows: 1 − value for a precision, else the value."""
        return 1 - self.value if self.kind == "precision" else self.value

    def stricter(self, shares: Floats) -> Floats:
        """Return goals that allow a share of the errors. shares: (G,) in (0, 1]."""
        errors = self.error_rate * shares
        return 1 - errors if self.kind == "precision" else errors

    def is_met_by(self, rates: Floats) -> Booleans:
        """Return whether each rate meets the goal; False for NaN."""
        met: Booleans = rates >= self.value if self.kind == "precision" else rates <= self.value
        return met


def _classes(number: int) -> str:
    return "1 class" if number == 1 else f"{number:,} classes"


def refuse_few_classes(classes: int) -> None:
    """Raise DataError if halves of the classes have no pairs of different classes."""
    if classes < FEWEST_CLASSES:
        raise DataError(
            f"{_classes(classes)}: a threshold is chosen on half of the classes and checked on the other half, which "
            f"needs at least {FEWEST_CLASSES}",
            code="too-few-classes",
        )


def refuse_hopeless(goal: Goal, labels: Integers, queries: int, unknown_queries: int = 0) -> None:
    """Raise what `refuse_stricter` raises, as far as it is known before images are embedded.

    Args:
        goal: The goal.
        labels: (N,) integers, the classes of all images of known identity.
        queries: The number of their queries.
        unknown_queries: The number of queries of unknown identity.
    """
    sizes = np.unique(labels, return_counts=True)[1].astype(np.int64)
    refuse_few_classes(len(sizes))
    pairs = int((len(labels) ** 2 - (sizes**2).sum()) // 2)
    unknown = queries + unknown_queries
    refuse_stricter(goal, {"unknown_queries": unknown, "known_queries": queries, "different_pairs": pairs})


def refuse_stricter(goal: Goal, counts: dict[str, int]) -> None:
    """Raise DataError if half of the classes, on which the threshold is checked, would not show one error at the goal.

    Args:
        goal: The goal.
        counts: unknown_queries, known_queries and different_pairs; different_pairs must be above 0.
    """
    if not counts["known_queries"] and goal.kind == "precision":
        text = "no query has a positive of its class in the gallery; a precision cannot be measured"
        raise DataError(text, code="no-positives", parameter="precision")
    least: dict[Kind, float] = {
        "far": 2 / max(1, counts["unknown_queries"]),
        "pair_far": 4 / counts["different_pairs"],
        "precision": 2 / max(1, counts["known_queries"]),
    }
    if goal.error_rate >= least[goal.kind] * (1 - 1e-9):
        return
    key, trials = TRIALS[goal.kind]
    possible = [f"`{kind}` {_round_up(least[kind]):g} or more" for kind in ("far", "pair_far") if least[kind] < 0.5]
    if least["precision"] < 0.5:
        possible.append(f"`precision` {1 - _round_up(least['precision']):g} or less")
    raise DataError(
        f"`{goal.kind}` {goal.value:g} cannot be shown by {counts[key]:,} {trials}: half of them choose the threshold "
        "and half check it, and less than one error is expected in a half. Possible with these images: "
        f"{', '.join(possible) or 'nothing'}. Give more images of more classes for a stricter goal",
        code="goal-too-strict",
        parameter=goal.kind,
    )


def _round_up(rate: float) -> float:
    """Round a rate up to two digits."""
    digit = 10.0 ** (floor(log10(rate)) - 1)
    return ceil(rate / digit - 1e-9) * digit


def unreachable(criterion: Criterion, goal: Goal) -> Problem:
    """Return the problem of a precision that no threshold reaches."""
    assert isinstance(criterion, TopAnswers)  # a rate of errors is reached by accepting nothing
    least = ceil(1 / (1 - goal.value) - 1e-9)
    numbers = np.flatnonzero(ends_of_ties(criterion.similarity)) + 1
    numbers = numbers[numbers >= least]
    precision = np.cumsum(criterion.right)[numbers - 1] / numbers
    number = int(numbers[np.argmax(precision)])
    text = (
        f"`precision` {goal.value:g}: no threshold that accepts {least:,} answers or more reaches it; the highest is "
        f"{floor(precision.max() * 1e4) / 1e4:g}, with {number:,} accepted at {criterion.similarity[number - 1]:.4f}"
    )
    return Problem(text, "goal-unreachable", "precision")


def too_few_classes(goal: Goal, classes: int, expected: float) -> Problem:
    """Return the problem that even the strictest threshold is not expected to meet the goal on other classes.

    Args:
        goal: The goal.
        classes: The number of classes.
        expected: The rate on other classes at that threshold; NaN if resamples of the classes give no threshold.
    """
    text = f"`{goal.kind}` {goal.value:g} cannot be expected on other classes, since these {classes} differ too much"
    if isnan(expected):
        text += ": their resamples give no threshold. Give images of more classes, or a less strict goal"
    else:
        text += (
            f": the strictest threshold of their resamples gives {expected:.2g}. Give images of more classes, or a "
            "goal that is no stricter than that"
        )
    return Problem(text, "too-few-classes", goal.kind)


def notes_on(goal: Goal, counts: dict[str, int], criterion: Criterion, threshold: float) -> list[str]:
    """Return sentences about what to beware of.

    Args:
        goal: The goal.
        counts: classes, unknown_queries, known_queries and different_pairs.
        criterion: Of the goal, for all classes.
        threshold: The lowest threshold that meets the goal on the classes at hand.
    """
    notes = []
    if (errors := goal.error_rate * counts[TRIALS[goal.kind][0]]) < FEW_ERRORS:
        notes.append(
            f"about {errors:.0f} errors are expected at the goal; below {FEW_ERRORS} (the rule of 30) the rate is a "
            "rough figure. More images, or a larger rate as the goal, make it sure"
        )
    if counts["classes"] < FEW_CLASSES:
        notes.append(
            f"{_classes(counts['classes'])}: with fewer than {FEW_CLASSES} the intervals are rough, take them as a hint"
        )
    if isinstance(criterion, TopAnswers) and threshold <= criterion.similarity[-1]:
        notes.append("the precision is reached without refusing any answer; the threshold is the lowest cosine seen")
    return notes
