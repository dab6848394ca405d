"""Wrong labels are found, right ones are not suspected, and embeddings of different networks are never compared."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from eml.errors import DataError
from eml.retrieval.label_errors import label_errors
from eml.retrieval.label_errors.label_errors import LabelErrors, find_label_errors, most_similar, toward_other_centres
from eml.retrieval.label_errors.label_votes import Votes, collect_votes
from eml.retrieval.label_errors.suspect_classes import mixed_classes, one_classes

Labels = NDArray[np.int64]


def clusters(sizes: list[int], *, spread: float = 0.3, size: int = 24, seed: int = 0) -> tuple[Tensor, Labels]:
    """Clouds around random directions, one a label, in the order of the labels."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(len(sizes), size))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return torch.from_numpy((centres[labels] + spread * random.normal(size=(len(labels), size))).astype("f4")), labels


def flipped(labels: Labels, number: int, seed: int = 1) -> tuple[Labels, Labels]:
    """Labels of which that many are others, and the rows of these."""
    random = np.random.default_rng(seed)
    rows = random.choice(len(labels), number, replace=False)
    wrong = labels.copy()
    wrong[rows] = (labels[rows] + random.integers(1, labels.max() + 1, number)) % (labels.max() + 1)
    return wrong, np.sort(rows)


def by_hand(embeddings: Tensor, labels: Labels, temperature: float, k: int) -> list[tuple[float, float, int]]:
    """Own share, largest other share and its label, by loops."""
    unit = embeddings.double() / embeddings.double().norm(dim=1, keepdim=True)
    result = []
    for row in range(len(labels)):
        cosines = {other: float(unit[row] @ unit[other]) for other in range(len(labels)) if other != row}
        first = sorted(cosines, key=lambda other: (-cosines[other], other))[:k]
        total = sum(np.exp(cosines[other] / temperature) for other in first)
        shares: dict[int, float] = {}
        for other in first:
            shares[labels[other]] = shares.get(labels[other], 0.0) + np.exp(cosines[other] / temperature) / total
        own = shares.pop(labels[row], 0.0)
        suggested = min(shares, key=lambda label: (-shares[label], label)) if shares else -1
        result.append((own, shares.get(suggested, 0.0), suggested))
    return result


def found(embeddings: Tensor, labels: Labels, spaces: Labels | None = None) -> tuple[Votes, LabelErrors]:
    voted = collect_votes(embeddings, labels, spaces)
    return voted, find_label_errors(voted, embeddings)


def test_shares_are_those_of_a_loop_over_all_images() -> None:
    embeddings, labels = clusters([9, 7, 5, 3], spread=2.0)
    voted = collect_votes(embeddings, labels, k=8)
    errors = find_label_errors(voted, embeddings)
    wanted = by_hand(embeddings, labels, voted.temperatures[0], 8)
    assert errors.own == pytest.approx([own for own, _, _ in wanted], abs=1e-5)
    assert errors.rival == pytest.approx([other for _, other, _ in wanted], abs=1e-5)
    assert errors.suggested.tolist() == [suggested for _, _, suggested in wanted]


def test_nearness_to_other_centres_is_that_of_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_errors, "ENTRIES", 12)
    embeddings, labels = clusters([6, 5, 4, 1], spread=2.0)
    spaces = np.arange(16) % 2
    unit = (embeddings.double() / embeddings.double().norm(dim=1, keepdim=True)).numpy()
    found = toward_other_centres(4 * embeddings, labels, spaces)

    def cosine(row: int, members: list[int]) -> float:
        centre = unit[members].sum(0)
        return float(unit[row] @ centre / np.linalg.norm(centre))

    for row in range(16):
        of = {label: [] for label in range(4)}
        for other in range(16):
            if spaces[other] == spaces[row] and other != row:
                of[labels[other]].append(other)
        own = of.pop(labels[row])
        others = [cosine(row, members) for members in of.values() if members]
        assert found[row] == pytest.approx(max(others) - cosine(row, own) if own else np.nan, abs=1e-12, nan_ok=True)


def test_of_equal_scores_the_image_that_is_nearer_to_another_centre_comes_first() -> None:
    embeddings, true = clusters([30, 30, 30], spread=0.6)
    labels, rows = flipped(true, 6)
    _, errors = found(embeddings, labels)
    listed = errors.suspects(0.5)
    assert set(listed[:6].tolist()) == set(rows.tolist())
    place = (rankdata(errors.score) + rankdata(errors.toward)) / 2 / len(labels)
    assert errors.place == pytest.approx(place)
    assert errors.place[listed].tolist() == sorted(errors.place[listed], reverse=True)


def test_a_vote_amounts_to_fifteen_images_whatever_the_similarities_are_spread_over() -> None:
    for spread in (0.02, 0.3, 3.0):
        voted = collect_votes(*clusters([60, 60, 60], spread=spread))
        weights = np.maximum(voted.weights, 1e-300)
        assert np.median(np.exp(-(weights * np.log(weights)).sum(1))) == pytest.approx(15, rel=0.01)


def test_changed_labels_come_first_and_their_true_label_is_suggested() -> None:
    embeddings, true = clusters([40, 30, 30, 30])
    labels, rows = flipped(true, 8)
    _, errors = found(embeddings, labels)
    assert sorted(errors.suspects(0.9).tolist()) == rows.tolist()
    assert (errors.suggested[rows] == true[rows]).all()
    assert len(errors.ambiguous(0.9)) == 0


def test_embeddings_of_different_networks_are_not_compared() -> None:
    """The second network has the same images' directions turned about, so that across the two nothing fits."""
    embeddings, true = clusters([40, 40, 40], seed=3)
    spaces = np.arange(len(true)) % 2
    turn = torch.linalg.qr(torch.randn(24, 24, generator=torch.Generator().manual_seed(0)))[0]
    turned = torch.where(torch.from_numpy(spaces == 1)[:, None], embeddings @ turn, embeddings)
    labels, rows = flipped(true, 6)
    voted, errors = found(turned, labels, spaces)
    assert sorted(errors.suspects(0.9).tolist()) == rows.tolist()
    there = voted.nearest >= 0
    asking = np.broadcast_to(spaces[:, None], voted.nearest.shape)
    assert (spaces[voted.nearest[there]] == asking[there]).all()
    apart = [found(embeddings[spaces == space], labels[spaces == space])[1].score for space in (0, 1)]
    assert errors.score[spaces == 1] == pytest.approx(apart[1], abs=1e-4)  # the turned network says the same


def test_result_does_not_depend_on_the_order_of_the_images() -> None:
    embeddings, true = clusters([20, 20, 20], spread=0.9)
    labels, _ = flipped(true, 5)
    order = np.random.default_rng(0).permutation(len(labels))
    _, errors = found(embeddings, labels)
    _, again = found(embeddings[order], labels[order])
    assert again.score == pytest.approx(errors.score[order], abs=1e-6)


def test_the_only_image_of_its_label_cannot_be_judged() -> None:
    embeddings, labels = clusters([10, 10, 1])
    _, errors = found(embeddings, labels)
    assert np.flatnonzero(np.isnan(errors.score)).tolist() == [20]
    assert 20 not in errors.suspects(0.0)
    spaces = np.array([0] * 19 + [1, 1])
    _, errors = found(embeddings, labels, spaces)  # row 19 too: alone of its label in its space
    assert np.flatnonzero(np.isnan(errors.score)).tolist() == [19, 20]


def test_a_space_of_one_image_and_a_set_of_one_label_are_no_errors() -> None:
    embeddings, labels = clusters([5, 4])
    voted, errors = found(embeddings, labels, np.array([0] * 8 + [1]))
    assert voted.nearest[8].tolist() == [-1] * voted.nearest.shape[1]
    assert np.isnan(errors.score[8])
    _, errors = found(embeddings, np.zeros(9, np.int64))
    assert (errors.suggested == -1).all()
    assert (errors.score < 1e-3).all()


def test_a_image_that_is_near_to_nothing_is_an_outlier() -> None:
    embeddings, labels = clusters([30, 30], spread=0.1)
    embeddings[7] = -embeddings.mean(0)
    _, errors = found(embeddings, labels)
    assert errors.outliers().tolist() == [7]


def test_a_image_half_way_between_two_labels_is_ambiguous() -> None:
    embeddings, labels = clusters([30, 30])
    middles = [torch.nn.functional.normalize(embeddings[labels == label].mean(0), dim=0) for label in (0, 1)]
    embeddings[0] = middles[0] + middles[1]
    _, errors = found(embeddings, labels)
    assert errors.ambiguous(0.9).tolist() == [0]
    assert len(errors.suspects(0.9)) == 0


def test_one_class_under_two_labels_is_told_and_two_classes_are_not() -> None:
    embeddings, labels = clusters([60, 60, 60])
    split = np.where((labels == 1) & (np.arange(len(labels)) % 3 == 0), 3, labels)  # a third of class 1
    assert one_classes(collect_votes(embeddings, labels)) == []
    one = one_classes(collect_votes(embeddings, split, np.arange(len(labels)) // 2 % 2))
    assert [(pair.label, pair.other_label) for pair in one] == [(1, 3)]
    assert one[0].mixing > 0.8


def test_a_class_with_a_part_of_another_is_mixed() -> None:
    embeddings, labels = clusters([60, 60, 60, 60])
    wrong = labels.copy()
    wrong[60:80] = 0  # a third of class 1 is labelled 0
    voted = collect_votes(embeddings, wrong)
    mixed = mixed_classes(embeddings, voted, one_classes(voted))
    assert [(each.label, each.other_label, each.rows.tolist()) for each in mixed] == [(0, 1, list(range(60, 80)))]
    voted = collect_votes(embeddings, labels)
    assert mixed_classes(embeddings, voted, one_classes(voted)) == []


def test_a_part_that_is_between_the_rest_and_another_class_is_not_mixed() -> None:
    """Eight images at 0.4 of the way from the other class: they vote for it twice as often as for the rest."""
    random = np.random.default_rng(0)
    toward = 0.4 * np.eye(24)[0] + 0.6 * np.eye(24)[1]
    places = [*np.eye(24)[[0] * 30 + [1] * 30], *[toward / np.linalg.norm(toward)] * 8]
    embeddings = torch.from_numpy(np.stack(places) + 0.15 * random.normal(size=(68, 24)))
    labels = np.array([0] * 30 + [1] * 30 + [0] * 8)
    voted = collect_votes(embeddings, labels)
    assert mixed_classes(embeddings, voted, []) == []


def test_most_similar_are_of_the_rows_asked_for_and_of_the_same_space() -> None:
    embeddings = torch.tensor([[1.0, 0], [1, 0.1], [1, 0.3], [1, 0.2], [1, 0.05]])
    voted = collect_votes(embeddings, np.zeros(5, np.int64), np.array([0, 0, 0, 0, 1]))
    assert most_similar(embeddings, voted, 0, np.arange(5), 2).tolist() == [1, 3]


def test_unusable_embeddings_are_refused() -> None:
    embeddings, labels = clusters([4, 4])
    with pytest.raises(DataError, match="8 embeddings and 7 labels"):
        collect_votes(embeddings, labels[:7])
    embeddings[3] = torch.nan
    with pytest.raises(DataError, match="NaN, infinite or zero, first: row 3"):
        collect_votes(embeddings, labels)
