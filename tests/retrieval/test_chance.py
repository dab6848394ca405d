"""Chance levels are the means over all orders of a gallery."""

from itertools import permutations

import numpy as np
import pytest

from eml.retrieval.chance import chance_of_map_at_r, chance_of_median_rank, chance_of_recall


def first_ranks_and_map(positives: int, gallery: int) -> tuple[list[int], float]:
    """Return the rank of the first positive in every order, and the mean of MAP@R over all."""
    ranks, scores = [], []
    for order in permutations(range(gallery)):
        hits = [image < positives for image in order]
        ranks.append(hits.index(True) + 1)
        precisions = [sum(hits[: i + 1]) / (i + 1) for i in range(positives) if hits[i]]
        scores.append(sum(precisions) / positives)
    return ranks, float(np.mean(scores))


@pytest.mark.parametrize("gallery", [1, 2, 5, 6])
def test_chance_levels_are_means_over_all_orders(gallery: int) -> None:
    for positives in range(1, gallery + 1):
        ranks, score = first_ranks_and_map(positives, gallery)
        counts = np.array([positives])
        for k in range(1, gallery + 2):
            expected = float(np.mean([rank <= k for rank in ranks]))
            assert chance_of_recall(counts, gallery, k) == pytest.approx(expected), (positives, k)
        assert chance_of_map_at_r(counts, gallery) == pytest.approx(score), positives
        assert chance_of_median_rank(counts, gallery) == np.sort(ranks)[(len(ranks) - 1) // 2], positives


def test_queries_count_by_their_own_positives_and_those_without_do_not() -> None:
    counts = np.array([0, 1, 3, 3])
    parts = [chance_of_recall(np.array([size]), 10, 2) for size in (1, 3, 3)]
    assert chance_of_recall(counts, 10, 2) == pytest.approx(np.mean(parts))
    for function in (chance_of_map_at_r, chance_of_median_rank):
        assert np.isnan(function(np.zeros(3, np.int64), 10))
    assert np.isnan(chance_of_recall(np.zeros(3, np.int64), 10, 1))


def test_large_galleries_keep_their_digits() -> None:
    assert chance_of_recall(np.array([1]), 1_000_000, 10) == pytest.approx(1e-5, rel=1e-3)
    assert chance_of_median_rank(np.array([1]), 1_000_000) == pytest.approx(500_000, rel=1e-3)
