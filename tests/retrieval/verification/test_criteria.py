from dataclasses import replace

import numpy as np
import pytest

from eml.retrieval.verification.calibration import make_criterion
from eml.retrieval.verification.criteria import TopAnswers, UnknownQueries, draw_halves
from eml.retrieval.verification.goal_checks import Goal
from tests.retrieval.verification.image_sets import classes


def test_the_threshold_of_unknown_queries_is_the_lowest_that_keeps_to_the_goal() -> None:
    data = classes(10, 6)
    criterion = UnknownQueries.from_queries(data.search())
    stranger = data.search().nearest_other_class
    for goal in (0.3, 0.1, 1 / 60):
        threshold = criterion.threshold(goal)
        assert (stranger >= np.float32(threshold)).mean() <= goal + 1e-9
        assert (stranger >= np.sort(stranger)[::-1][int(goal * 60 + 1e-9)]).mean() > goal
        assert criterion.rate(threshold) == pytest.approx((stranger >= np.float32(threshold)).mean())


def test_half_of_the_classes_is_half_of_the_gallery_too() -> None:
    data, codes = classes(12, 4, spread=1.2), np.array([1, 2, 5, 7, 8, 11])
    half = np.isin(np.arange(12), codes)
    whole = UnknownQueries.from_queries(data.search())
    alone = data.among(codes).search()
    np.testing.assert_allclose(whole.within(half), -np.sort(-alone.nearest_other_class), atol=1e-6)
    top, right = TopAnswers.from_queries(data.search()).within(half)
    np.testing.assert_allclose(top, -np.sort(-alone.top), atol=1e-6)
    assert right.sum() == alone.right.sum() < len(right)


@pytest.mark.parametrize("kind", ["far", "pair_far"])
def test_a_rate_without_each_class_is_that_of_the_other_classes_alone(kind: str) -> None:
    data, threshold = classes(12, 4, spread=1.2), 0.6
    goal = Goal(kind, 0.5)  # type: ignore[arg-type]
    without = make_criterion(goal, data, data.search()).rates_without_each(threshold)  # type: ignore[attr-defined]
    assert len(np.unique(without.round(6))) > 5
    for code in range(12):
        alone = data.among(np.delete(np.arange(12), code))
        assert without[code] == pytest.approx(make_criterion(goal, alone, alone.search()).rate(threshold), abs=1e-9)


def test_of_two_classes_neither_has_an_unknown_query_without_the_other() -> None:
    data = classes(2, 4)
    unknown = UnknownQueries.from_queries(data.search())
    assert unknown.rate(-1) == 1
    assert np.isnan(unknown.rates_without_each(-1)).all()


def test_the_threshold_of_a_precision_is_the_lowest_that_reaches_it() -> None:
    data = classes(10, 6, spread=2.0)
    found = data.search()
    criterion = TopAnswers.from_queries(found)
    assert found.right.mean() < 0.5
    for goal in (0.5, 0.6):
        fits = [
            each
            for each in found.top
            if found.right[found.top >= each].mean() >= goal and (found.top >= each).sum() * (1 - goal) >= 1 - 1e-9
        ]
        assert criterion.threshold(goal) == pytest.approx(min(fits), abs=1e-7)
        assert criterion.rate(criterion.threshold(goal)) >= goal


def test_a_half_without_queries_says_nothing() -> None:
    data = classes(12, 5)
    asked = replace(data, queries=data.queries[data.labels[data.queries] < 2])
    criterion = UnknownQueries.from_queries(asked.search())
    found = criterion.resample(np.array([0.3]), 60, 0)
    none = np.array([not half[:2].any() for half in draw_halves(12, 60, 0)])
    assert 0 < none.sum() < 60
    assert np.isnan(found.rates[none]).all()
    assert not np.isnan(found.rates[~none]).any()
