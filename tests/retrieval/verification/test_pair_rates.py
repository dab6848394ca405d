import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from eml.errors import DataError
from eml.retrieval.verification.pair_counts import count_pairs
from eml.retrieval.verification.pair_rates import (
    area_under_curve,
    curve,
    equal_error_rate,
    fold_accuracies,
    true_accept_rate_at,
    verification_metrics,
)

RANDOM = np.random.default_rng(0)


def scored(pairs: int = 500, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of which the same pairs' are higher on the whole; rounded to few levels there are many ties."""
    same = RANDOM.random(pairs) < 0.3
    similarity = (RANDOM.normal(0, 0.2, pairs) + 0.3 * same).clip(-1, 1).astype(np.float32)
    return (similarity if levels is None else np.round(similarity * levels) / levels), same


@pytest.mark.parametrize("levels", [None, 7, 1])
def test_the_roc_and_its_area_are_scikit_learns_with_and_without_ties(levels: int | None) -> None:
    similarity, same = scored(levels=levels)
    accepted = count_pairs(similarity, same)
    far, tar, threshold = roc_curve(same, similarity, drop_intermediate=False)
    np.testing.assert_allclose(accepted.false_accept_rate, far[1:])  # theirs begins with an infinite threshold
    np.testing.assert_allclose(accepted.true_accept_rate, tar[1:])
    np.testing.assert_allclose(accepted.threshold, threshold[1:])
    assert area_under_curve(accepted) == pytest.approx(roc_auc_score(same, similarity), abs=1e-12)


@pytest.mark.parametrize("levels", [None, 7])
def test_rates_are_those_of_a_plain_loop_over_thresholds(levels: int | None) -> None:
    similarity, same = scored(levels=levels)
    accepted = count_pairs(similarity, same)
    for rate in (0.3, 0.1, 0.01):
        best, at = 0.0, np.inf
        for threshold in similarity:
            if (similarity[~same] >= threshold).mean() <= rate:
                if (tar := (similarity[same] >= threshold).mean()) > best:
                    best, at = tar, threshold
                elif tar == best:
                    at = min(at, threshold)
        found, where = true_accept_rate_at(accepted, rate)
        assert found == pytest.approx(best)
        if best:
            assert (similarity[same] >= where).mean() == pytest.approx(best)
            assert (similarity[~same] >= where).mean() <= rate


def test_a_rate_that_the_pairs_can_just_show_is_given_and_one_below_is_not() -> None:
    similarity = np.array([0.9, 0.8, *np.linspace(0.1, 0.5, 10)])
    same = np.arange(12) < 2
    accepted = count_pairs(similarity, same)
    assert true_accept_rate_at(accepted, 0.1) == (1.0, 0.5)  # one of ten different pairs, and both same ones
    assert np.isnan(true_accept_rate_at(accepted, 0.0999)).all()
    assert {name for name in verification_metrics(accepted) if name.startswith("tar")} == {"tar_at_far_1e-1"}


def test_a_tie_at_the_top_that_accepts_too_many_leaves_nothing_to_accept() -> None:
    similarity, same = np.ones(40), np.arange(40) < 20
    accepted = count_pairs(similarity, same)
    assert true_accept_rate_at(accepted, 0.1) == (0.0, np.inf)
    assert area_under_curve(accepted) == 0.5
    assert equal_error_rate(accepted)[0] == 0.5


def test_the_equal_error_rate_lies_where_the_roc_crosses_the_diagonal() -> None:
    similarity, same = scored(4000)
    rate, threshold = equal_error_rate(count_pairs(similarity, same))
    far, tar, _ = roc_curve(same, similarity)
    assert np.interp(rate, far, tar) == pytest.approx(1 - rate, abs=2e-3)
    assert (similarity[~same] >= threshold).mean() == pytest.approx(rate, abs=2e-3)
    assert (similarity[same] < threshold).mean() == pytest.approx(rate, abs=2e-3)
    perfect = count_pairs(np.array([0.9, 0.8, 0.2, 0.1]), np.array([True, True, False, False]))
    assert equal_error_rate(perfect)[0] == 0
    reverse = count_pairs(np.array([0.9, 0.8, 0.2, 0.1]), np.array([False, False, True, True]))
    assert equal_error_rate(reverse)[0] == 1


def test_the_threshold_of_a_fold_is_chosen_on_the_others() -> None:
    similarity, same = scored(600, levels=40)
    fold = np.arange(600) % 10
    found = fold_accuracies(similarity, same, fold)
    for number in range(10):
        train, held = fold != number, fold == number
        candidates = np.unique(np.append(similarity[train], 2))
        right = [((similarity[train] >= each) == same[train]).mean() for each in candidates]
        best = candidates[np.flatnonzero(right == np.max(right))]
        accuracies = {((similarity[held] >= each) == same[held]).mean() for each in best}
        assert any(found[number] == pytest.approx(each) for each in accuracies)
    one = np.zeros(4, np.int64)
    with pytest.raises(DataError, match="two folds"):
        fold_accuracies(np.array([0.9, 0.8, 0.2, 0.1]), np.array([True, True, False, False]), one)


def test_an_accuracy_over_folds_does_not_see_its_own_fold() -> None:
    similarity = np.array([0.9, 0.1, 0.5, 0.4])  # fold 1 would be perfect at 0.45; fold 0 says 0.5
    same = np.array([True, False, True, False])
    assert fold_accuracies(similarity, same, np.array([0, 0, 1, 1])).tolist() == [1.0, 1.0]
    assert fold_accuracies(similarity, ~same, np.array([0, 0, 1, 1])).tolist() == [0, 0.5]  # of equals the highest


def test_the_drawn_curve_keeps_its_ends_and_few_points() -> None:
    accepted = count_pairs(*scored(5000))
    drawn = curve(accepted, 100)
    assert len(drawn["threshold"]) <= 100
    assert drawn["false_accept_rate"][-1] == drawn["true_accept_rate"][-1] == 1
    assert all(np.diff(drawn["false_accept_rate"]) >= 0)


def test_the_threshold_of_a_fold_may_lie_beyond_all_cosines_or_between_two_neighbours_of_float32() -> None:
    fold = np.array([0, 0, 1, 1])
    alike = np.full(4, 0.9, np.float32)
    assert fold_accuracies(alike, np.zeros(4, bool), fold).tolist() == [1, 1], "nothing is to be accepted"
    low = np.float32(0.5)
    both = np.array([low, np.nextafter(low, np.float32(1))] * 2)
    assert fold_accuracies(both, np.array([False, True] * 2), fold).tolist() == [1, 1]
