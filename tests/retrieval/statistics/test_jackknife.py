"""Intervals over classes: they cover the truth, agree with a plain loop, and say when they know little."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from scipy import stats

from eml.retrieval.metrics.base import QueryAnswers
from eml.retrieval.metrics.global_average_precision import GlobalAveragePrecision
from eml.retrieval.statistics.interval import FEW_CLASSES, Interval, t_interval
from eml.retrieval.statistics.jackknife import (
    GROUPS,
    interval_of_share,
    intervals,
    intervals_of,
    paired,
    paired_of,
    shares_without_each,
)


def drawn(seed: int, classes: int, mean: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Classes of skewed sizes, each with a rate of its own at which its queries are right."""
    random = np.random.default_rng(seed)
    of = np.repeat(np.arange(classes), 2 + np.floor(random.lognormal(1.5, 1.0, classes)).astype(int))
    return (random.random(len(of)) < random.beta(3 * mean, 3 * (1 - mean), classes)[of]).astype(float), of


def coverage(found: list[Interval], truth: float) -> float:
    return float(np.mean([each.low <= truth <= each.high for each in found]))


def median_width(found: list[Interval]) -> float:
    return float(np.median([each.high - each.low for each in found]))


def mean_of(values: np.ndarray) -> Callable[[np.ndarray], dict[str, float]]:
    return lambda weights: {"m": float(weights @ values / weights.sum())}


def expected(value: float, error: float, degrees: float) -> tuple[float, float]:
    """The ends of a 95 % t interval of the log odds."""
    reach = stats.t.ppf(0.975, degrees) * error / (value * (1 - value))
    odds = np.log(value / (1 - value))
    return 1 / (1 + np.exp(-odds + reach)), 1 / (1 + np.exp(-odds - reach))


def test_an_interval_over_classes_covers_the_truth_and_one_over_queries_does_not() -> None:
    sets = [drawn(seed, 40) for seed in range(300)]
    over_classes = [intervals({"m": values}, of)["m"] for values, of in sets]
    over_queries = [intervals({"m": values}, np.arange(len(of)))["m"] for values, of in sets]
    assert 0.92 <= coverage(over_classes, 0.6) <= 0.98
    assert coverage(over_queries, 0.6) < 0.85


@pytest.mark.parametrize(("mean", "width"), [(0.6, 0.55), (0.95, 0.4)])
def test_ten_classes_get_an_interval_that_covers_the_truth_and_says_something(mean: float, width: float) -> None:
    """A studentised bootstrap is 1 wide (median) at .95."""
    sets = [drawn(seed, 10, mean) for seed in range(300)]
    found = [intervals({"m": values}, of)["m"] for values, of in sets]
    assert coverage(found, mean) > 0.93
    assert median_width(found) < width
    assert all(each.few for each in found)
    values, of = drawn(0, FEW_CLASSES)
    assert not intervals({"m": values}, of)["m"].few


def test_classes_that_hardly_differ_by_chance_do_not_make_it_certain() -> None:
    """Of 5 classes with a mean of .95 often none is among the drawn that is much worse than the others."""
    held = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        rates = np.clip(random.beta(2.85, 0.15, 5), 1e-6, 1 - 1e-6)
        of = np.repeat(np.arange(5), 8)
        found = intervals({"m": random.beta(4 * rates[of], 4 * (1 - rates[of]))}, of)["m"]
        held += found.low <= 0.95 <= found.high
    assert held >= 184  # 171 with the spread of the classes alone


def test_an_interval_equals_a_plain_loop() -> None:
    values, of = drawn(1, 30)
    without = np.array([values[of != one].mean() for one in range(30)])
    sizes = np.bincount(of)
    mean, variance = values.mean(), 29 / 30 * np.sum((without - without.mean()) ** 2)
    mixed = (30 * variance + 0.25 * mean * (1 - mean) / 30) / 30.25
    found = intervals({"m": values}, of)["m"]
    degrees = len(values) ** 2 / np.sum(sizes**2) - 1
    assert degrees < 25
    assert (found.low, found.high) == pytest.approx(expected(mean, mixed**0.5, degrees))


def test_a_difference_equals_a_plain_loop() -> None:
    random = np.random.default_rng(0)
    of = np.repeat(np.arange(12), 5)
    before, after = random.random(60), random.random(60) ** 2
    change = np.array([(after - before)[of == one].mean() for one in range(12)])
    low, high = expected((1 + change.mean()) / 2, float(stats.sem(change)) / 2, 11)
    found = paired({"m": before}, {"m": after}, of)["m"]
    assert (found.interval.low, found.interval.high) == pytest.approx((2 * low - 1, 2 * high - 1))
    plain = change.mean() + stats.t.ppf([0.025, 0.975], 11) * stats.sem(change)
    assert (found.interval.low, found.interval.high) == pytest.approx(tuple(plain), abs=0.02)


def test_queries_that_do_not_count_change_nothing() -> None:
    values, of = drawn(2, 30)
    more = np.concatenate([values, [np.nan] * 5]), np.concatenate([of, [100, 101, 102, 0, 5]])
    assert intervals({"m": more[0]}, more[1]) == intervals({"m": values}, of)
    assert intervals({"m": np.full(3, np.nan)}, np.arange(3)) == {}
    beside = intervals({"m": np.full(60, np.nan), "other": np.tile([0.0, 1], 30)}, np.repeat(np.arange(6), 10))
    assert np.isnan(beside["m"].low)
    assert beside["m"].classes == 0
    assert beside["other"].classes == 6


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_right_or_all_wrong_is_no_certainty(value: float) -> None:
    of = np.repeat(np.arange(10), 3)
    found = intervals({"m": np.full(30, value)}, of)["m"]
    least = 0.025 ** (1 / 10)
    assert found == Interval(pytest.approx(least * value), pytest.approx(1 - least * (1 - value)), 10)
    assert intervals_of(mean_of(np.full(30, value)), of)["m"] == found


def test_one_class_says_next_to_nothing() -> None:
    values, of = np.array([1.0, 0.0]), np.zeros(2, np.int64)
    alone = intervals({"m": values}, of)["m"]
    assert alone.low < 0.05
    assert alone.high > 0.95
    assert intervals_of(mean_of(values), of)["m"] == alone
    assert paired({"m": values}, {"m": values[::-1]}, of)["m"].interval == Interval(-0.975, 0.975, 1)


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("mean", [0.02, 0.5, 0.98])
def test_an_interval_of_few_classes_stays_within_the_bounds_and_has_its_value_in_it(classes: int, mean: float) -> None:
    for seed in range(40):
        values, of = drawn(seed, classes, mean)
        found = intervals({"m": values}, of)["m"]
        assert 0 <= found.low <= values.mean() <= found.high <= 1
        change = paired({"m": values}, {"m": np.roll(values, 1)}, of)["m"]
        assert -1 <= change.interval.low <= change.value <= change.interval.high <= 1


def test_a_difference_is_narrower_than_the_two_means_and_finds_a_gain() -> None:
    before, of = drawn(4, 60)
    random = np.random.default_rng(0)
    after = np.where(random.random(len(of)) < 0.1, 1.0, before)
    after[0] = np.nan
    [found] = paired({"m": before}, {"m": after}, of).values()
    assert found.before == pytest.approx(before[1:].mean())
    assert found.interval.low <= found.value <= found.interval.high
    assert found.interval.low > 0
    single = intervals({"m": before}, of)["m"]
    assert found.interval.high - found.interval.low < 0.5 * (single.high - single.low)
    same = paired({"m": before}, {"m": before}, of)["m"]
    assert same.interval.low < 0 < same.interval.high
    assert same.alike


def test_a_metric_that_is_no_mean_gets_the_interval_of_one_where_it_is_one() -> None:
    before, of = drawn(5, 60)
    after = drawn(6, 60)[0]
    after = np.resize(after, len(before))
    ends = intervals({"m": before}, of)["m"], paired({"m": before}, {"m": after}, of)["m"]
    same = intervals_of(mean_of(before), of)["m"], paired_of(mean_of(before), mean_of(after), of)["m"]
    assert (same[0].low, same[0].high) == pytest.approx((ends[0].low, ends[0].high))
    assert (same[1].before, same[1].after) == pytest.approx((ends[1].before, ends[1].after))
    assert (same[1].interval.low, same[1].interval.high) == pytest.approx((ends[1].interval.low, ends[1].interval.high))


def test_many_classes_go_out_in_groups() -> None:
    values, of = drawn(3, 5 * GROUPS)
    asked: list[np.ndarray] = []

    def mean(weights: np.ndarray) -> dict[str, float]:
        asked.append(weights)
        return mean_of(values)(weights)

    found, one_by_one = intervals_of(mean, of)["m"], intervals({"m": values}, of)["m"]
    assert len(asked) == 1 + GROUPS
    out = [np.unique(of[weights == 0]) for weights in asked[1:]]
    assert sorted(np.concatenate(out)) == list(range(5 * GROUPS)), "each class goes out once, with all its queries"
    assert found.classes == 5 * GROUPS
    assert found.high - found.low == pytest.approx(one_by_one.high - one_by_one.low, rel=0.15)


def answers(seed: int, classes: int) -> tuple[QueryAnswers, np.ndarray]:
    right, of = drawn(seed, classes)
    random = np.random.default_rng(seed)
    similarity = random.normal(size=len(of)) + right + 0.7 * random.normal(size=classes)[of]
    return QueryAnswers(np.zeros(len(of), np.int64), similarity, right > 0, np.ones(len(of), bool)), of


def test_the_interval_of_gap_has_its_value_in_it_and_grows_with_confidence() -> None:
    some, of = answers(6, 40)
    statistic = partial(GlobalAveragePrecision().together, some)
    [value] = statistic(np.ones(len(of))).values()
    [narrow], [wide] = (intervals_of(statistic, of, confidence=share).values() for share in (0.8, 0.99))
    assert wide.low < narrow.low < value < narrow.high < wide.high
    assert np.isnan(intervals_of(lambda weights: {"m": float("nan")}, of)["m"].low)


@pytest.mark.slow
def test_the_interval_of_gap_covers_the_truth_and_one_over_queries_does_not() -> None:
    metric = GlobalAveragePrecision()
    everyone, of = answers(0, 50_000)
    [truth] = metric.together(everyone, np.ones(len(of))).values()
    over_classes, over_queries = [], []
    for seed in range(150):
        some, of = answers(seed, 10)
        for found, which in ((over_classes, of), (over_queries, np.arange(len(of)))):
            found += intervals_of(partial(metric.together, some), which).values()
    assert coverage(over_classes, truth) > 0.9
    assert coverage(over_queries, truth) < 0.8


def test_one_class_that_is_nearly_all_leaves_an_interval_of_nearly_everything() -> None:
    of = np.repeat([0, 1, 2], [500, 1, 1])
    values = np.random.default_rng(0).random(len(of))
    for found in (intervals_of(mean_of(values), of)["m"], intervals({"m": values}, of)["m"]):
        assert found.low < 0.4 < 0.6 < found.high


def test_the_log_odds_of_a_difference_are_those_of_its_place_between_the_bounds() -> None:
    found = t_interval(-0.2, 0.01, 9, 10, bounds=(-1.0, 1.0))
    low, high = expected(0.4, 0.05, 9)
    assert (found.low, found.high) == pytest.approx((2 * low - 1, 2 * high - 1))


def test_a_value_at_a_bound_has_no_log_odds_and_the_interval_of_alike_classes() -> None:
    assert t_interval(1.0, 0.01, 9, 10) == t_interval(1.0, 0.0, 9, 10)
    assert t_interval(1.0, 0.01, 9, 10).low == pytest.approx(0.025**0.1)


def test_the_shares_without_each_class_are_those_of_a_plain_loop() -> None:
    some, of = np.array([1, 0, 3, 0.0]), np.array([4, 2, 3, 0.0])
    found = shares_without_each(some, of)
    assert found[:3].tolist() == [3 / 5, 4 / 7, 1 / 6]
    assert np.isnan(found[3])  # plays no part
    assert np.isnan(shares_without_each(np.array([1.0, 0]), np.array([2.0, 0]))).all()  # nothing is left without it


def test_of_classes_of_one_size_the_spread_is_that_of_their_shares() -> None:
    """Classes of equal size: θ₍c₎ − θ̄ = (θ̄ − θc)/(C − 1), so that se is the standard error of a mean."""
    shares = np.random.default_rng(0).beta(2, 5, 15)
    value = float(shares.mean())
    found = interval_of_share(value, shares_without_each(8 * shares, np.full(15, 8.0)))
    assert [found.low, found.high] == pytest.approx(expected(value, float(stats.sem(shares)), 14), abs=1e-9)
    assert found.classes == 15


@pytest.mark.parametrize("value", [0.0, 0.25, 1.0])
def test_where_no_class_makes_a_difference_it_is_the_interval_of_alike_classes(value: float) -> None:
    found = interval_of_share(value, np.full(12, value))
    of = np.repeat(np.arange(12), 4)
    per_query = np.tile(np.arange(4) < 4 * value, 12).astype(float)
    assert found == intervals({"": per_query}, of)[""]
    assert found.high - found.low > 0.2


def test_without_two_classes_a_share_has_no_interval() -> None:
    assert np.isnan(interval_of_share(0.5, np.array([0.2])).low)
    assert np.isnan(interval_of_share(np.nan, np.array([0.2, 0.3])).high)
    assert interval_of_share(0.3, np.array([0.2, np.nan, 0.4, np.nan])).classes == 2


def test_intervals_of_a_rare_rate_hold_it_where_percentiles_do_not() -> None:
    """Of 10 classes with 5 images, each class with a rate of its own around .1: 95 % are expected."""
    held = {"jackknife": 0, "percentiles": 0}
    for seed in range(200):
        random = np.random.default_rng(seed)
        some, of = random.binomial(5, random.beta(1, 9, 10)).astype(float), np.full(10, 5.0)
        found = interval_of_share(some.sum() / 50, shares_without_each(some, of))
        draws = random.multinomial(10, np.full(10, 0.1), 300)
        low, high = np.quantile(draws @ some / 50, [0.025, 0.975])
        held["jackknife"] += found.low <= 0.1 <= found.high
        held["percentiles"] += low <= 0.1 <= high
    assert held["jackknife"] >= 184
    assert held["percentiles"] <= 176
