"""Intervals over classes: they cover the truth, agree with a plain loop, and say when they know little."""

import numpy as np
import pytest

from eml.retrieval.bootstrap import FEW, Interval, intervals, intervals_of, paired
from eml.retrieval.metrics.base import Answers
from eml.retrieval.metrics.global_average_precision import GlobalAveragePrecision


def drawn(seed: int, classes: int, mean: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Classes of skewed sizes, each with a rate of its own at which its queries are right."""
    random = np.random.default_rng(seed)
    of = np.repeat(np.arange(classes), 2 + np.floor(random.lognormal(1.5, 1.0, classes)).astype(int))
    return (random.random(len(of)) < random.beta(3 * mean, 3 * (1 - mean), classes)[of]).astype(float), of


def coverage(found: list[Interval], truth: float) -> float:
    return float(np.mean([each.low <= truth <= each.high for each in found]))


def test_an_interval_over_classes_covers_the_truth_and_one_over_queries_does_not() -> None:
    sets = [drawn(seed, 40) for seed in range(300)]
    over_classes = [intervals({"m": values}, of, resamples=400)["m"] for values, of in sets]
    over_queries = [intervals({"m": values}, np.arange(len(of)), resamples=200)["m"] for values, of in sets[:60]]
    assert 0.92 <= coverage(over_classes, 0.6) <= 0.98
    assert coverage(over_queries, 0.6) < 0.85


def test_few_classes_get_wide_intervals_that_say_so() -> None:
    found = [intervals({"m": values}, of, resamples=400)["m"] for values, of in (drawn(seed, 8) for seed in range(300))]
    assert coverage(found, 0.6) > 0.9
    assert all(each.few for each in found)
    values, of = drawn(0, FEW)
    assert not intervals({"m": values}, of)["m"].few


def test_the_studentised_interval_equals_a_plain_loop() -> None:
    values, of = drawn(1, 30)
    classes, random, t = np.unique(of), np.random.default_rng(0), []

    def mean_and_error(chosen: np.ndarray, floor: float = 0.0) -> tuple[float, float]:
        parts = [values[of == one] for one in chosen]
        every = np.concatenate(parts)
        residual = sum((part.sum() - every.mean() * len(part)) ** 2 for part in parts)
        return every.mean(), residual * len(chosen) / (len(chosen) - 1) / len(every) ** 2

    mean, variance = mean_and_error(classes)
    for row in random.integers(30, size=(500, 30)):
        again, spread = mean_and_error(row)
        t.append((again - mean) / np.sqrt((30 * spread + 0.5 * variance) / 30.5))
    low, high = np.quantile(t, [0.05, 0.95])
    found = intervals({"m": values}, of, confidence=0.9, resamples=500)["m"]
    assert (found.low, found.high) == pytest.approx((mean - high * variance**0.5, mean - low * variance**0.5))


def test_queries_that_do_not_count_change_nothing() -> None:
    values, of = drawn(2, 30)
    more = np.concatenate([values, [np.nan] * 5]), np.concatenate([of, [100, 101, 102, 0, 5]])
    assert intervals({"m": more[0]}, more[1]) == intervals({"m": values}, of)
    assert intervals({"m": np.full(3, np.nan)}, np.arange(3)) == {}


def test_many_classes_go_through_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    values, of = drawn(3, 60)
    whole = intervals({"m": values, "other": 1 - values}, of)
    monkeypatch.setattr("eml.retrieval.bootstrap.PIECE", 1000)
    in_pieces = intervals({"m": values, "other": 1 - values}, of)
    for name, each in whole.items():
        assert (each.low, each.high) == pytest.approx((in_pieces[name].low, in_pieces[name].high))
    assert whole["other"].low == pytest.approx(1 - whole["m"].high), "from the same resamples"


def test_all_right_is_no_certainty() -> None:
    of = np.repeat(np.arange(10), 3)
    found = intervals({"m": np.ones(30)}, of)["m"]
    assert found == Interval(pytest.approx(0.025 ** (1 / 10)), 1.0, 10)
    alone = intervals({"m": np.array([1.0, 0.0])}, np.zeros(2, np.int64))["m"]
    assert alone.low < 0.05
    assert alone.high > 0.95


def test_a_difference_is_narrower_than_the_two_means_and_finds_a_gain() -> None:
    before, of = drawn(4, 60)
    random = np.random.default_rng(0)
    after = np.where(random.random(len(of)) < 0.1, 1.0, before)
    after[0] = np.nan
    [found] = paired({"m": before}, {"m": after}, of).values()
    assert found.before == pytest.approx(before[1:].mean())
    assert found.interval.low <= found.value <= found.interval.high
    assert found.interval.low > 0
    assert found.interval.high - found.interval.low < 0.5 * np.ptp(
        [getattr(intervals({"m": before}, of)["m"], end) for end in ("low", "high")]
    )
    same = paired({"m": before}, {"m": before}, of)["m"].interval
    assert same.low < 0 < same.high


def test_a_metric_that_is_no_mean_gets_nearly_the_interval_of_one_where_it_is_one() -> None:
    values, of = drawn(5, 150)
    means = intervals({"m": values}, of)["m"]
    found = intervals_of(lambda weights: {"m": float(weights @ values / weights.sum())}, of)["m"]
    width = means.high - means.low
    assert found.low == pytest.approx(means.low, abs=0.15 * width)
    assert found.high == pytest.approx(means.high, abs=0.15 * width)


def test_the_interval_of_gap_has_its_value_in_it_and_grows_with_confidence() -> None:
    right, of = drawn(6, 40)
    similarity = np.random.default_rng(0).normal(size=len(of)) + right
    answers = Answers(np.zeros(len(of), np.int64), similarity, right > 0, np.ones(len(of), bool))
    metric = GlobalAveragePrecision()
    [value] = metric.together(answers, np.ones(len(of))).values()
    narrow, wide = (
        intervals_of(lambda weights: metric.together(answers, weights), of, confidence=share, resamples=300)
        for share in (0.8, 0.99)
    )
    [narrow], [wide] = narrow.values(), wide.values()
    assert wide.low < narrow.low < value < narrow.high < wide.high
    nothing = intervals_of(lambda weights: {"m": float("nan")}, of, resamples=10)["m"]
    assert np.isnan(nothing.low)
