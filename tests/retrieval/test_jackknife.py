import numpy as np
import pytest
from scipy import stats

from eml.retrieval.bootstrap import intervals
from eml.retrieval.jackknife import interval_of_share, without_each


def test_the_shares_without_each_class_are_those_of_a_plain_loop() -> None:
    some, of = np.array([1, 0, 3, 0.0]), np.array([4, 2, 3, 0.0])
    found = without_each(some, of)
    assert found[:3].tolist() == [3 / 5, 4 / 7, 1 / 6]
    assert np.isnan(found[3])  # plays no part
    assert np.isnan(without_each(np.array([1.0, 0]), np.array([2.0, 0]))).all()  # nothing is left without it


def test_of_classes_of_one_size_the_spread_is_that_of_their_shares() -> None:
    """Classes of equal size: θ₍c₎ − θ̄ = (θ̄ − θc)/(C − 1), so that se is the standard error of a mean."""
    shares = np.random.default_rng(0).beta(2, 5, 15)
    value = float(shares.mean())
    found = interval_of_share(value, without_each(8 * shares, np.full(15, 8.0)))
    odds = np.log(value / (1 - value))
    reach = stats.t.ppf(0.975, 14) * stats.sem(shares) / (value * (1 - value))
    expected = [1 / (1 + np.exp(-(odds + sign * reach))) for sign in (-1, 1)]
    assert [found.low, found.high] == pytest.approx(expected, abs=1e-9)
    assert found.classes == 15


@pytest.mark.parametrize("value", [0.0, 0.25, 1.0])
def test_where_no_class_makes_a_difference_it_is_the_interval_of_the_bootstrap(value: float) -> None:
    found = interval_of_share(value, np.full(12, value))
    of = np.repeat(np.arange(12), 4)
    per_query = np.tile(np.arange(4) < 4 * value, 12).astype(float)
    assert found == intervals({"": per_query}, of)[""]
    assert found.high - found.low > 0.2


def test_without_two_classes_there_is_no_interval() -> None:
    assert np.isnan(interval_of_share(0.5, np.array([0.2])).low)
    assert np.isnan(interval_of_share(np.nan, np.array([0.2, 0.3])).high)
    assert interval_of_share(0.3, np.array([0.2, np.nan, 0.4, np.nan])).classes == 2


def test_intervals_of_a_rare_rate_hold_it_where_percentiles_do_not() -> None:
    """Of 10 classes with 5 pictures, each class with a rate of its own around .1: 95 % are expected."""
    held = {"jackknife": 0, "percentiles": 0}
    for seed in range(200):
        random = np.random.default_rng(seed)
        some, of = random.binomial(5, random.beta(1, 9, 10)).astype(float), np.full(10, 5.0)
        found = interval_of_share(some.sum() / 50, without_each(some, of))
        draws = random.multinomial(10, np.full(10, 0.1), 300)
        low, high = np.quantile(draws @ some / 50, [0.025, 0.975])
        held["jackknife"] += found.low <= 0.1 <= found.high
        held["percentiles"] += low <= 0.1 <= high
    assert held["jackknife"] >= 184
    assert held["percentiles"] <= 176
