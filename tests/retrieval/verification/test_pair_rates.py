from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score, roc_curve

from eml.errors import DataError
from eml.retrieval.verification import pair_rates as module
from eml.retrieval.verification.pair_rates import (
    all_pairs,
    area_error,
    area_under_curve,
    counted_pairs,
    curve,
    equal_error_rate,
    fold_accuracies,
    pair_similarities,
    shown,
    true_accept_rate_at,
    verification,
    verification_of_pairs,
)
from eml.retrieval.verification.pairs import read_pairs

RANDOM = np.random.default_rng(0)


def scored(pairs: int = 500, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of which the same pairs' are higher on the whole; rounded to few levels there are many ties."""
    same = RANDOM.random(pairs) < 0.3
    similarity = (RANDOM.normal(0, 0.2, pairs) + 0.3 * same).clip(-1, 1).astype(np.float32)
    return (similarity if levels is None else np.round(similarity * levels) / levels), same


def classes(count: int = 12, each: int = 9, dimension: int = 8, spread: float = 1.0) -> tuple[torch.Tensor, np.ndarray]:
    labels = np.repeat(np.arange(count), each)
    centers = RANDOM.normal(size=(count, dimension))
    return torch.from_numpy(centers[labels] + RANDOM.normal(0, spread, (len(labels), dimension))).float(), labels


@pytest.mark.parametrize("levels", [None, 7, 1])
def test_the_roc_and_its_area_are_scikit_learns_with_and_without_ties(levels: int | None) -> None:
    similarity, same = scored(levels=levels)
    accepted = counted_pairs(similarity, same)
    far, tar, threshold = roc_curve(same, similarity, drop_intermediate=False)
    np.testing.assert_allclose(accepted.false_accept_rate, far[1:])  # theirs begins with an infinite threshold
    np.testing.assert_allclose(accepted.true_accept_rate, tar[1:])
    np.testing.assert_allclose(accepted.threshold, threshold[1:])
    assert area_under_curve(accepted) == pytest.approx(roc_auc_score(same, similarity), abs=1e-12)


@pytest.mark.parametrize("levels", [None, 7])
def test_rates_are_those_of_a_plain_loop_over_thresholds(levels: int | None) -> None:
    similarity, same = scored(levels=levels)
    accepted = counted_pairs(similarity, same)
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
    accepted = counted_pairs(similarity, same)
    assert true_accept_rate_at(accepted, 0.1) == (1.0, 0.5)  # one of ten different pairs, and both same ones
    assert np.isnan(true_accept_rate_at(accepted, 0.0999)).all()
    assert {name for name in verification(accepted) if name.startswith("tar")} == {"tar_at_far_1e-1"}


def test_a_tie_at_the_top_that_accepts_too_many_leaves_nothing_to_accept() -> None:
    similarity, same = np.ones(40), np.arange(40) < 20
    accepted = counted_pairs(similarity, same)
    assert true_accept_rate_at(accepted, 0.1) == (0.0, np.inf)
    assert area_under_curve(accepted) == 0.5
    assert equal_error_rate(accepted)[0] == 0.5


def test_the_equal_error_rate_lies_where_the_roc_crosses_the_diagonal() -> None:
    similarity, same = scored(4000)
    rate, threshold = equal_error_rate(counted_pairs(similarity, same))
    far, tar, _ = roc_curve(same, similarity)
    assert np.interp(rate, far, tar) == pytest.approx(1 - rate, abs=2e-3)
    assert (similarity[~same] >= threshold).mean() == pytest.approx(rate, abs=2e-3)
    assert (similarity[same] < threshold).mean() == pytest.approx(rate, abs=2e-3)
    perfect = counted_pairs(np.array([0.9, 0.8, 0.2, 0.1]), np.array([True, True, False, False]))
    assert equal_error_rate(perfect)[0] == 0
    reverse = counted_pairs(np.array([0.9, 0.8, 0.2, 0.1]), np.array([False, False, True, True]))
    assert equal_error_rate(reverse)[0] == 1


@pytest.mark.parametrize("spread", [0.3, 1.0])
def test_bins_agree_with_sorting_to_within_a_bin(spread: float, monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings, labels = classes(spread=spread)
    embeddings[5] = embeddings[6]  # a copy, whose cosine may round to more than 1
    exact = all_pairs(embeddings, labels)
    monkeypatch.setattr(module, "EXACT_PAIRS", 0)
    monkeypatch.setattr(module, "TILE_ENTRIES", 300)  # several tiles, the last of them of several rows
    binned = all_pairs(embeddings, labels)
    assert (exact.bin_width, binned.bin_width) == (0, 2.0**-19)
    assert (binned.same[-1], binned.different[-1]) == (exact.same[-1], exact.different[-1])
    for edge, same, different in list(zip(binned.threshold, binned.same, binned.different, strict=True))[::40]:
        # at an edge the counts are exact; a tile's product may round the last bit otherwise than the whole one
        place = np.searchsorted(-exact.threshold, -(edge - 1e-6), side="right") - 1
        before = np.searchsorted(-exact.threshold, -(edge + 1e-6), side="right") - 1
        assert (exact.same[before] if before >= 0 else 0) <= same <= exact.same[place]
        assert (exact.different[before] if before >= 0 else 0) <= different <= exact.different[place]
    assert abs(area_under_curve(binned) - area_under_curve(exact)) <= area_error(binned) + 1e-7
    for name, value in verification(exact).items():
        assert verification(binned)[name] == pytest.approx(value, abs=2e-5), name
    assert [shown(name) for name in verification(binned)][-2:] == [
        "step between thresholds",
        "error of the AUC, at most",
    ]


def test_all_pairs_are_every_two_images_once() -> None:
    embeddings, labels = classes(5, 4)
    accepted = all_pairs(embeddings, labels)
    unit = torch.nn.functional.normalize(embeddings).numpy()
    first, second = np.triu_indices(len(labels), 1)
    plain = counted_pairs((unit[first] * unit[second]).sum(1), labels[first] == labels[second])
    assert (accepted.same[-1], accepted.different[-1]) == (5 * 6, 190 - 30)
    assert area_under_curve(accepted) == pytest.approx(area_under_curve(plain), abs=1e-4)
    assert accepted.threshold[0] == pytest.approx(plain.threshold[0], abs=1e-6)


def test_one_kind_of_pairs_and_nan_are_errors() -> None:
    embeddings, labels = classes(3, 3)
    with pytest.raises(DataError, match="1 pair is of the same class and 0 of different ones"):
        counted_pairs(np.array([0.5]), np.array([True]))
    with pytest.raises(DataError, match="0 pairs are of the same class"):
        all_pairs(embeddings, np.arange(9))
    with pytest.raises(DataError, match="0 of different ones"):
        all_pairs(embeddings, np.zeros(9, np.int64))
    with pytest.raises(DataError, match="two classes at least"):
        all_pairs(embeddings[:1], labels[:1])
    embeddings[4, 0] = torch.nan
    with pytest.raises(DataError, match="first: row 4"):
        all_pairs(embeddings, labels)
    with pytest.raises(DataError, match="1 of 2 pairs have no cosine"):
        counted_pairs(np.array([0.1, np.nan]), np.array([True, False]))


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


FILE = "file_name_1,file_name_2,same,fold\na/1.jpg,a/2.jpg,1,3\na/1.jpg,b/1.jpg,0,3\n\nb/1.jpg,a/2.jpg,False,7\n"
NAMES = ["a/1.jpg", "a/2.jpg", "b/1.jpg"]


def test_pairs_of_a_csv(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text(FILE)
    pairs = read_pairs(file, NAMES)
    assert (pairs.first.tolist(), pairs.second.tolist()) == ([0, 0, 2], [1, 2, 1])
    assert pairs.same.tolist() == [True, False, False]
    assert pairs.fold is not None
    assert pairs.fold.tolist() == [0, 0, 1]
    embeddings = torch.tensor([[1.0, 0], [0.6, 0.8], [0, 2]])
    np.testing.assert_allclose(pair_similarities(embeddings, pairs.first, pairs.second, 2), [0.6, 0, 0.8], atol=1e-6)
    values, _ = verification_of_pairs(embeddings, pairs)
    assert values["auc"] == 0.5
    # fold 7 accepts nothing up to 0.8, which is right for one of fold 3; fold 3 accepts from 0.3, wrong for fold 7
    assert (values["fold_accuracy"], values["fold_accuracy_error"]) == (0.25, 0.25)
    assert [shown(name) for name in values][-2:] == ["accuracy over folds", "standard error of that accuracy"]


def test_a_name_of_two_images_says_nothing(tmp_path: Path) -> None:
    (file := tmp_path / "pairs.csv").write_text(FILE)
    with pytest.raises(DataError, match=rf"1 names are of several images, first: '{NAMES[0]}'"):
        read_pairs(file, [*NAMES, NAMES[0]])


def test_names_may_be_relative_to_the_folder_of_the_pairs(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    file = tmp_path / "pairs.csv"
    file.write_text("a,b,same\nimages/a/1.jpg,images/a/2.jpg,1\n")
    assert read_pairs(file, NAMES, tmp_path / "images").second.tolist() == [1]
    with pytest.raises(DataError, match=r"pairs\.csv:2: no image 'images/a/1\.jpg'"):
        read_pairs(file, NAMES)


def test_lfws_own_file(tmp_path: Path) -> None:
    file = tmp_path / "pairs.txt"
    file.write_text("2\t1\nAnn_Lee\t1\t2\nAnn_Lee\t1\tBob\t3\nBob\t3\t1\nBob\t1\tAnn_Lee\t2\n")
    names = ["Ann_Lee/Ann_Lee_0001.png", "Ann_Lee/Ann_Lee_0002.png", "Bob/Bob_0001.png", "Bob/Bob_0003.png"]
    pairs = read_pairs(file, names)
    assert (pairs.first.tolist(), pairs.second.tolist()) == ([0, 0, 3, 2], [1, 3, 2, 1])
    assert pairs.same.tolist() == [True, False, True, False]
    assert pairs.fold is not None
    assert pairs.fold.tolist() == [0, 0, 1, 1]
    file.write_text("2\t1\nAnn_Lee\t1\t2\n")
    with pytest.raises(DataError, match=r"1 pairs follow; 2 folds of 1 \+ 1 are 4"):
        read_pairs(file, names)


@pytest.mark.parametrize(
    "text, told",
    [
        ("a/1.jpg,a/2.jpg,1,0", "pairs.csv:1: needs the columns file_name_1, file_name_2, same"),
        (FILE + "a/9.jpg,b/2.jpg,1,3\n", "pairs.csv:6: no image 'a/9.jpg'.*\n.*pairs.csv:6: no image 'b/2.jpg'"),
        (FILE + "a/1.jpg,a/1.jpg,1,3\n", "pairs.csv:6: 'a/1.jpg' is paired with itself"),
        (
            FILE + "a/1.jpg,a/2.jpg,yes,x\na/1.jpg\n",
            "6: same must be 0 or 1, got 'yes'\n.*6: fold .* got 'x'\n.*7: 1 fie",
        ),
        ("file_name_1,file_name_2,same\n", "holds no pairs"),
    ],
)
def test_what_is_wrong_with_a_list_of_pairs_is_told_with_its_lines(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(DataError, match=told):
        read_pairs(tmp_path / "pairs.csv", NAMES)


def test_the_drawn_curve_keeps_its_ends_and_few_points() -> None:
    accepted = counted_pairs(*scored(5000))
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
