import numpy as np
import pytest

from eml.retrieval.verification.acceptance import measure_acceptance
from eml.retrieval.verification.calibration import (
    calibrate,
    choose_threshold,
    make_criterion,
    restrict_criterion,
    split_classes,
)
from eml.retrieval.verification.different_pairs import DifferentPairs
from eml.retrieval.verification.goal_checks import Goal
from eml.retrieval.verification.open_set import OpenSet
from tests.retrieval.verification.image_sets import classes


@pytest.mark.parametrize("kind", ["far", "pair_far", "precision"])
def test_a_part_of_the_classes_is_as_if_the_others_were_not_there(kind: str) -> None:
    data, codes, goal = classes(20, 6, 0.9), np.arange(3, 14), Goal(kind, 0.1 if kind != "precision" else 0.8)  # type: ignore[arg-type]
    whole = make_criterion(goal, data, data.search())
    part, alone = restrict_criterion(whole, goal, data, data.search(), codes), data.among(codes)
    plain = make_criterion(goal, alone, alone.search())
    assert part.classes == 11
    assert part.threshold(goal.value) == pytest.approx(plain.threshold(goal.value), abs=1e-6)


@pytest.mark.parametrize("kind, value", [("far", 0.1), ("pair_far", 0.02), ("precision", 0.9)])
def test_other_classes_keep_to_the_goal_on_average(kind: str, value: float) -> None:
    """Of the same distribution; the threshold that just fits the classes at hand would not do."""
    goal = Goal(kind, value)  # type: ignore[arg-type]
    rates, plain = [], []
    for seed in range(16):
        both = classes(60, 6, 0.45, seed=seed)
        one, other = both.among(np.arange(30)), both.among(np.arange(30, 60))
        first, second = (make_criterion(goal, each, each.search()) for each in (one, other))
        if isinstance(second, DifferentPairs):
            second = DifferentPairs.above(other.embeddings, other.labels, -2.0, 0)
        rates.append(second.rate(choose_threshold(first, goal, 40, seed).threshold.value))
        plain.append(second.rate(first.threshold(value)))
    if kind == "precision":
        assert np.mean(rates) > value - 0.015
        assert np.mean(rates) >= np.mean(plain)
    else:
        assert np.mean(rates) < 1.1 * value
        assert 0.5 * value < np.mean(rates) < np.mean(plain)


def test_calibration_says_what_was_found() -> None:
    data = classes(30, 8, 0.45)
    found = calibrate(data, Goal("far", 0.1), resamples=60, splits=2)
    assert found.threshold.interval.low < found.threshold.value < found.threshold.interval.high
    assert found.plain <= found.threshold.value
    shown = measure_acceptance(data, found.threshold.value)
    for name, rate in found.measured.items():
        assert rate.value == pytest.approx(shown[name], abs=1e-6), name
        assert rate.interval.low <= rate.value <= rate.interval.high, name
    assert len(found.held_out) == 4
    assert (found.same.sum(), found.different.sum()) == (shown["same_pairs"], shown["different_pairs"])
    assert found.counts["unknown_queries"] == 240
    strict = calibrate(data, Goal("far", 0.1), strict=True, resamples=60, splits=2)
    assert strict.threshold.value == found.threshold.interval.high
    assert np.mean(strict.held_out) < np.mean(found.held_out)
    again = calibrate(data, Goal("far", 0.1), resamples=60, splits=2)
    assert (again.threshold, again.held_out) == (found.threshold, found.held_out)
    assert calibrate(data, Goal("far", 0.1), resamples=60, splits=2, seed=1).held_out != found.held_out


def test_images_of_unknown_identity_count_as_unknown_queries_and_in_no_pair() -> None:
    data = classes(24, 5)
    unknown = np.arange(120) >= 80
    labels = np.where(unknown, np.arange(120) - 64, data.labels)
    images = OpenSet(data.embeddings, labels, np.arange(120), np.arange(120), unknown=unknown)
    found = calibrate(images, Goal("far", 0.1))
    assert found.counts["classes"] == 16
    assert found.counts["unknown_images"] == 40
    assert (found.counts["known_queries"], found.counts["unknown_queries"]) == (80, 120)
    assert found.counts["same_pairs"] + found.counts["different_pairs"] == 80 * 79 // 2
    rates = measure_acceptance(images, found.threshold.value)
    assert found.measured["false_accept_rate"].value == pytest.approx(rates["false_accept_rate"])
    pairs = calibrate(images, Goal("pair_far", 0.05))
    assert pairs.threshold == calibrate(images.known, Goal("pair_far", 0.05)).threshold
    assert "play no part" in pairs.notes[0]
    for first, second in split_classes(56, 2, 0, unknown=40):
        assert sorted([*first, *second]) == list(range(56))
        assert (first < 16).sum() == (second < 16).sum() == 8
