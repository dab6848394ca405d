"""A threshold from several sets that have no common space, such as the folds of a cross-validation.

Each query is answered by the gallery of its own set, and pairs are those within a set; the queries of all sets are
pooled then. The classes of the sets must be different ones.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eml.errors import DataError
from eml.retrieval.statistics import Estimate, interval_of_share, nest
from eml.retrieval.verification.calibration import (
    NEVER_BELOW,
    RESAMPLES,
    RESAMPLES_OF_HALF,
    SEED,
    SPLITS,
    ThresholdCalibration,
    choose_threshold,
    cosine_histogram,
    pair_histograms,
    share_of_queries,
    split_classes,
)
from eml.retrieval.verification.criteria import Criterion, TopAnswers, UnknownQueries
from eml.retrieval.verification.goal_checks import Goal, notes_on, refuse_stricter, too_few_classes, unreachable
from eml.retrieval.verification.open_set import NearestClasses, OpenSet, OpenSetQueries
from eml.retrieval.verification.pair_counts import AcceptedPairs, all_pairs


def calibrate_pooled(
    parts: Sequence[OpenSet], goal: Goal, *, strict: bool = False, seed: int = SEED
) -> ThresholdCalibration:
    """Choose a threshold as `calibrate` does, by the pooled queries of several sets.

    Args:
        parts: The sets, of different classes; the labels of each are 0…C−1, C at least 2.
        goal: far or precision.
        strict: As in `calibrate`.
        seed: Of resamples and splits.

    Raises:
        DataError: The goal is of pairs, or what `calibrate` raises.
    """
    if goal.kind == "pair_far":
        text = "`pair_far` is a rate of all pairs, but images of different folds are in different spaces; give `far`"
        raise DataError(text, code="conflicting-settings", parameter="pair_far")
    queries = join_queries([part.search() for part in parts])
    pairs = [all_pairs(part.embeddings, part.labels) for part in parts]
    counts = _counts(parts, queries, pairs)
    refuse_stricter(goal, counts)
    criterion = _criterion(goal, queries)
    plain = criterion.threshold(goal.value)
    if np.isnan(plain):
        raise DataError([unreachable(criterion, goal)])
    choice = choose_threshold(criterion, goal, RESAMPLES, seed)
    if np.isnan(choice.threshold.value):
        raise DataError([too_few_classes(goal, queries.classes, choice.expected)])
    threshold = choice.final(strict)
    histograms = [pair_histograms(accepted) for accepted in pairs]
    return ThresholdCalibration(
        goal=goal,
        threshold=threshold,
        plain=plain,
        measured=_rates(queries, threshold.value),
        held_out=_held_out(goal, queries, strict, seed),
        counts=counts,
        same=np.sum([same for same, _ in histograms], axis=0),
        different=np.sum([different for _, different in histograms], axis=0),
        known=cosine_histogram(queries.top[queries.known]),
        unknown=cosine_histogram(queries.nearest_other_class),
        notes=notes_on(goal, counts, criterion, plain),
    )


def join_queries(parts: Sequence[OpenSetQueries]) -> OpenSetQueries:
    """Return the queries of several sets, whose classes become different ones."""
    offsets = np.cumsum([0, *(part.classes for part in parts)])
    width = max(part.nearest_classes.similarity.shape[1] for part in parts)

    def joined(name: str) -> NDArray[np.float32]:
        values: NDArray[np.float32] = np.concatenate([getattr(part, name) for part in parts])
        return values

    near = [part.nearest_classes for part in parts]
    similarity = [_widened(classes.similarity, width, -np.inf) for classes in near]
    labels = [_widened(classes.labels + offset, width, 0) for classes, offset in zip(near, offsets[:-1], strict=True)]
    return OpenSetQueries(
        joined("nearest_positive"),
        joined("nearest_other_class"),
        np.concatenate([part.right for part in parts]),
        np.concatenate([part.labels + offset for part, offset in zip(parts, offsets[:-1], strict=True)]),
        int(offsets[-1]),
        NearestClasses(np.concatenate(similarity).astype(np.float32), np.concatenate(labels).astype(np.int64)),
    )


def _widened(values: NDArray[np.generic], width: int, fill: float) -> NDArray[np.generic]:
    return np.pad(values, ((0, 0), (0, width - values.shape[1])), constant_values=fill)


def _criterion(goal: Goal, queries: OpenSetQueries) -> Criterion:
    return UnknownQueries.from_queries(queries) if goal.kind == "far" else TopAnswers.from_queries(queries)


def _counts(parts: Sequence[OpenSet], queries: OpenSetQueries, pairs: Sequence[AcceptedPairs]) -> dict[str, int]:
    return {
        "images": sum(len(part.labels) for part in parts),
        "classes": queries.classes,
        "known_queries": int(queries.known.sum()),
        "unknown_queries": int((queries.nearest_other_class > -np.inf).sum()),
        "same_pairs": sum(int(accepted.same[-1]) for accepted in pairs),
        "different_pairs": sum(int(accepted.different[-1]) for accepted in pairs),
    }


def _rates(queries: OpenSetQueries, threshold: float) -> dict[str, Estimate]:
    """Return the rates of queries of `measure_rates`; pairs have none, since those of different sets cannot be made."""
    known, top = queries.known, queries.known & (queries.top >= threshold)
    shares = {"recognised": (top & queries.right, known), "precision": (top & queries.right, top)}
    shares["accepted"] = (top, known)
    rates = {name: share_of_queries(part, whole, queries) for name, (part, whole) in shares.items() if whole.any()}
    unknown = UnknownQueries.from_queries(queries)
    value = unknown.rate(threshold)
    rates[unknown.key] = Estimate(value, interval_of_share(value, unknown.rates_without_each(threshold)))
    nested = nest({name: rate.interval for name, rate in rates.items()}, NEVER_BELOW)
    return {name: Estimate(rate.value, nested[name]) for name, rate in rates.items()}


def _held_out(goal: Goal, queries: OpenSetQueries, strict: bool, seed: int) -> list[float]:
    rates = []
    for halves in split_classes(queries.classes, SPLITS, seed):
        first, second = (_criterion(goal, queries.among(codes)) for codes in halves)
        for chosen_on, measured_on in ((first, second), (second, first)):
            threshold = choose_threshold(chosen_on, goal, RESAMPLES_OF_HALF, seed).final(strict).value
            rates.append(float("nan") if np.isnan(threshold) else measured_on.rate(threshold))
    return rates
