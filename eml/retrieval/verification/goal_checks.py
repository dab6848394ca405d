"""Whether images can support a goal of calibration, and what to beware of where they hardly can."""

from dataclasses import dataclass
from math import ceil, floor, isnan, log10
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from eml.errors import DataError
from eml.retrieval.verification.criteria import Criterion, TopAnswers
from eml.retrieval.verification.thresholds import ends_of_ties

FEWEST_CLASSES = 4  # two in each half
FEW_CLASSES = 20  # below which an interval over classes is a rough one
FEW_ERRORS = 30  # for a rate within ±30 % with 90 % confidence: the rule of 30 (Doddington 2000)

Kind = Literal["far", "pair_far", "precision"]
OPTIONS: dict[Kind, str] = {"far": "--far", "pair_far": "--pair-far", "precision": "--precision"}


@dataclass(frozen=True)
class Goal:
    """What is wanted, of 0 < value < 1.

    far: share of unknown queries (of classes that are not in the gallery) that are accepted. pair_far: share of pairs
    of different classes that are accepted. precision: share of right ones among the accepted nearest images of
    queries whose class is in the gallery.
    """

    kind: Kind
    value: float


def _classes(number: int) -> str:
    return "1 class" if number == 1 else f"{number:,} classes"


def refuse_few_classes(classes: int) -> None:
    """Raises DataError where halves of the classes have no pairs of different ones."""
    if classes < FEWEST_CLASSES:
        raise DataError(
            f"{_classes(classes)}: a threshold is chosen on half of the classes and checked on the other half, which "
            f"takes {FEWEST_CLASSES} at least"
        )


def refuse_hopeless(goal: Goal, labels: NDArray[np.int64], queries: int) -> None:
    """What `refuse_stricter` refuses, as far as it is known before images are embedded. labels: (N,)."""
    sizes = np.unique(labels, return_counts=True)[1].astype(np.int64)
    refuse_few_classes(len(sizes))
    pairs = int((len(labels) ** 2 - (sizes**2).sum()) // 2)
    refuse_stricter(goal, {"unknown_queries": queries, "known_queries": queries, "different_pairs": pairs})


def refuse_stricter(goal: Goal, counts: dict[str, int]) -> None:
    """DataError where half of the classes, on which the threshold is checked, would not show one error at the goal."""
    if not counts["known_queries"] and goal.kind == "precision":
        raise DataError("no query has a positive of its class in the gallery; a precision cannot be measured")
    least = {
        "far": 2 / max(1, counts["unknown_queries"]),
        "pair_far": 4 / counts["different_pairs"],
        "precision": 2 / max(1, counts["known_queries"]),
    }
    rate = 1 - goal.value if goal.kind == "precision" else goal.value
    if rate >= least[goal.kind] * (1 - 1e-9):
        return
    what = {
        "far": f"{counts['unknown_queries']:,} queries",
        "pair_far": f"{counts['different_pairs']:,} pairs of different classes",
        "precision": f"{counts['known_queries']:,} queries with a positive",
    }
    possible = [f"{OPTIONS[kind]} {_up(least[kind]):g} or more" for kind in ("far", "pair_far") if least[kind] < 0.5]
    if least["precision"] < 0.5:
        possible.append(f"--precision {1 - _up(least['precision']):g} or less")
    raise DataError(
        f"{OPTIONS[goal.kind]} {goal.value:g} cannot be shown by {what[goal.kind]}, of which half are to choose the "
        f"threshold and half to check it: less than one error is expected in a half. Possible with these images: "
        f"{', '.join(possible) or 'nothing'}. Give more images of more classes for a stricter goal"
    )


def _up(rate: float) -> float:
    """Rounded up to two digits."""
    digit = 10.0 ** (floor(log10(rate)) - 1)
    return ceil(rate / digit - 1e-9) * digit


def unreachable(criterion: Criterion, goal: Goal) -> str:
    """What to say of a precision that no threshold reaches."""
    assert isinstance(criterion, TopAnswers)  # a rate of errors is reached by accepting nothing
    least = ceil(1 / (1 - goal.value) - 1e-9)
    numbers = np.flatnonzero(ends_of_ties(criterion.similarity)) + 1
    numbers = numbers[numbers >= least]
    precision = np.cumsum(criterion.right)[numbers - 1] / numbers
    number = int(numbers[np.argmax(precision)])
    return (
        f"--precision {goal.value:g} is reached by no threshold that accepts {least:,} answers or more; the highest is "
        f"{floor(precision.max() * 1e4) / 1e4:g}, with {number:,} accepted at {criterion.similarity[number - 1]:.4f}"
    )


def too_few_classes(goal: Goal, classes: int, expected: float) -> str:
    """What to say where even the strictest threshold is not expected to do on other classes. expected: its rate.

    NaN where resamples of the classes give no threshold.
    """
    told = f"{OPTIONS[goal.kind]} {goal.value:g} cannot be expected of other classes, so much do these {classes} differ"
    if isnan(expected):
        return f"{told}: resamples of them give no threshold. Give images of more classes, or a goal less strict"
    return (
        f"{told}: the strictest threshold that resamples of them give leads to {expected:.2g}. Give images of more "
        "classes, or a goal that is no stricter than that"
    )


def notes_on(goal: Goal, counts: dict[str, int], criterion: Criterion, threshold: float) -> list[str]:
    """What to beware of. threshold: at which just the classes at hand keep to the goal."""
    notes = []
    number = {"far": "unknown_queries", "pair_far": "different_pairs", "precision": "known_queries"}[goal.kind]
    rate = 1 - goal.value if goal.kind == "precision" else goal.value
    if (errors := rate * counts[number]) < FEW_ERRORS:
        notes.append(
            f"about {errors:.0f} errors are expected at the goal; below {FEW_ERRORS} (the rule of 30) the rate is a "
            "rough figure"
        )
    if counts["classes"] < FEW_CLASSES:
        notes.append(
            f"{_classes(counts['classes'])}: with fewer than {FEW_CLASSES} the intervals are rough, take them as a hint"
        )
    if isinstance(criterion, TopAnswers) and threshold <= criterion.similarity[-1]:
        notes.append("the precision is reached without refusing any answer; the threshold is the lowest cosine seen")
    return notes
