"""Intervals of metrics of which one is never below another do not contradict each other."""

import numpy as np
import pytest
import torch

from eml.retrieval.metrics import all_metrics, summarise
from eml.retrieval.ranking import rank
from eml.retrieval.statistics import Interval, intervals, intervals_of_summary, nest, nest_metrics

PAIRS = [
    (lower, higher) for metric in all_metrics() for higher, below in metric.never_below().items() for lower in below
]


def test_recall_at_5_reaches_no_lower_than_recall_at_1() -> None:
    """8 classes of 60 queries: R@1 is wrong once in two classes, R@5 once in one of them."""
    classes = np.repeat(np.arange(8), 60)
    first, five = np.ones(480), np.ones(480)
    first[[0, 60]] = five[0] = 0
    own = intervals({"recall_at_1": first, "recall_at_5": five}, classes)
    assert own["recall_at_5"].low < own["recall_at_1"].low, "the fault that is mended: fewer errors, a wider interval"
    nested = nest_metrics(own)
    assert nested["recall_at_5"].low == nested["recall_at_1"].low == own["recall_at_1"].low
    assert nested["recall_at_5"].high == own["recall_at_5"].high


def test_ends_follow_along_a_chain_and_nan_stays() -> None:
    never_below = {"b": ("a",), "c": ("b",), "d": ("nowhere",)}
    given = {"c": Interval(0.1, 0.8, 9), "b": Interval(0.2, 1.0, 9), "a": Interval(0.3, 0.9, 9)}
    ends = {name: (each.low, each.high) for name, each in nest(given, never_below).items()}
    assert ends == {"a": (0.3, 0.8), "b": (0.3, 0.8), "c": (0.3, 0.8)}
    unknown = Interval(np.nan, np.nan, 1)
    assert nest({"a": unknown, "b": given["b"]}, never_below) == {"a": unknown, "b": given["b"]}


def test_the_pairs_are_those_of_the_metrics() -> None:
    assert set(PAIRS) == {
        ("global_average_precision", "recall_at_1"),
        ("recall_at_1", "recall_at_5"),
        ("recall_at_5", "recall_at_10"),
        ("recall_at_1", "mean_reciprocal_rank"),
        ("map_at_r", "r_precision"),
        ("map_at_r", "mean_average_precision"),
    }


@pytest.mark.parametrize("seed", range(20))
def test_metrics_and_intervals_keep_their_order_on_random_sets(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 6, 40)
    noise = random.choice([0.1, 0.5, 2.0])
    embeddings = torch.from_numpy(np.eye(8)[labels] + noise * random.standard_normal((40, 8))).float()
    summary = summarise(rank(embeddings, labels))
    found = intervals_of_summary(summary, labels)
    for lower, higher in PAIRS:
        assert summary.values[lower] <= summary.values[higher] + 1e-12, (lower, higher)
        assert found[lower].low <= found[higher].low
        assert found[lower].high <= found[higher].high
    for name, interval in found.items():
        assert interval.low <= summary.values[name] <= interval.high
