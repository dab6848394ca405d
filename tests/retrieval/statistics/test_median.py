"""Medians over queries with intervals over classes."""

import numpy as np
import pytest

from eml.retrieval.statistics import median_estimate


def test_the_median_is_the_least_value_that_half_of_the_queries_do_not_exceed() -> None:
    classes = np.arange(6)
    for values, median in (([1, 2, 3, 4, 5, 6], 3), ([1, 1, 1, 9, 9, 9], 1), ([4, 4, 4, 4, 4, 4], 4)):
        estimate = median_estimate(np.array(values, float), classes)
        assert estimate.value == median
        assert estimate.interval.low <= median <= estimate.interval.high
        assert {estimate.interval.low, estimate.interval.high} <= set(values)


def test_queries_that_do_not_count_change_nothing() -> None:
    values, classes = np.array([3.0, 1, 7, 2, 5]), np.arange(5)
    with_blank = median_estimate(np.append(values, np.nan), np.append(classes, 9))
    assert with_blank == median_estimate(values, classes)
    empty = median_estimate(np.full(3, np.nan), np.arange(3))
    assert np.isnan([empty.value, empty.interval.low]).all()
    one = median_estimate(values, np.zeros(5, int))
    assert (one.value, one.interval.low, one.interval.high) == (3, 1, 7), "one class says nothing of others"


def test_intervals_cover_the_true_median_of_classes_that_differ() -> None:
    """Ranks of 30 classes of 8 queries, classes alike within: of 300 worlds about 95 in 100 cover."""
    random = np.random.default_rng(0)
    covered = []
    for _ in range(300):
        centres = random.standard_normal(30)
        values = np.exp(centres.repeat(8) + 0.5 * random.standard_normal(240))
        interval = median_estimate(values, np.arange(30).repeat(8)).interval
        covered.append(interval.low <= 1.0 <= interval.high)  # the median of a lognormal about 0
    assert np.mean(covered) == pytest.approx(0.95, abs=0.04)
