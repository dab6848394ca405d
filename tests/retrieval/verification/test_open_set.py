import numpy as np
import pytest
import torch

from eml.retrieval.verification import open_set
from eml.retrieval.verification.acceptance import measure_acceptance
from eml.retrieval.verification.open_set import OpenSet, find_answers, find_nearest_classes
from tests.retrieval.verification.image_sets import classes, similarities


@pytest.mark.parametrize("split", [False, True])
def test_answers_are_those_of_a_plain_loop(split: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_set, "QUERIES", 7)
    monkeypatch.setattr(open_set, "BLOCK", 11)
    data = classes(6, 5)
    data.embeddings[3] = data.embeddings[28]  # a copy in another class
    labels = data.labels.copy()
    labels[29] = 6  # a class of one image
    random = np.random.default_rng(1)
    queries = random.permutation(30)[:20] if split else np.arange(30)
    gallery = random.permutation(30)[:25] if split else np.arange(30)
    groups = random.integers(-1, 3, 30) if split else None
    within = random.integers(0, 2, 30) if split else None
    some = OpenSet(data.embeddings, labels, queries, gallery, groups, within)
    found = find_answers(some)
    listed = find_nearest_classes(some)
    cosine = similarities(data)
    for number, query in enumerate(queries):
        there = [g for g in gallery if g != query and (within is None or within[g] == within[query])]
        mine = [
            g
            for g in there
            if labels[g] == labels[query] and (groups is None or groups[g] < 0 or groups[g] != groups[query])
        ]
        others = [g for g in there if labels[g] != labels[query]]
        positive, stranger = (max((cosine[query, g] for g in some), default=-np.inf) for some in (mine, others))
        assert found.nearest_positive[number] == pytest.approx(positive, abs=1e-6)
        assert found.nearest_other_class[number] == pytest.approx(stranger, abs=1e-6)
        assert found.right[number] == (positive > stranger)
        nearest = {code: max(cosine[query, g] for g in others if labels[g] == code) for code in set(labels[others])}
        ordered = sorted(nearest, key=lambda code: -nearest[code])
        assert listed.labels[number, : len(ordered)].tolist() == ordered
        np.testing.assert_allclose(
            listed.similarity[number, : len(ordered)], sorted(nearest.values(), reverse=True), atol=1e-6
        )
        assert (listed.similarity[number, len(ordered) :] == -np.inf).all()


def test_equal_cosines_are_right_by_gallery_index() -> None:
    embeddings = torch.tensor([[1.0, 0], [0.6, 0.8], [0.6, 0.8], [0, 1]])
    assert find_answers(OpenSet.leave_one_out(embeddings, np.array([0, 0, 1, 2]))).right.tolist() == [
        True,
        False,
        False,
        False,
    ]
    assert find_answers(OpenSet.leave_one_out(embeddings, np.array([0, 1, 0, 2]))).right.tolist() == [
        False,
        False,
        False,
        False,
    ]


def test_what_a_threshold_accepts_is_counted() -> None:
    data = classes(6, 5)
    labels = data.labels.copy()
    labels[29] = 6
    threshold, cosine = 0.9, similarities(data)
    found = measure_acceptance(OpenSet.leave_one_out(data.embeddings, labels), threshold)
    same = labels[:, None] == labels
    np.fill_diagonal(cosine, -np.inf)
    top, right = cosine.max(1), same[np.arange(30), cosine.argmax(1)]
    known = np.arange(30) < 29
    accepted = known & (top >= threshold)
    assert 0 < accepted.sum() < 29
    assert (found["known_queries"], found["unknown_queries"]) == (29, 30)
    assert found["accepted"] == pytest.approx(accepted.sum() / 29)
    assert found["precision"] == pytest.approx(right[accepted].mean())
    assert found["recognised"] == pytest.approx((right & accepted).sum() / 29)
    assert found["false_accept_rate"] == pytest.approx((np.where(same, -np.inf, cosine).max(1) >= threshold).mean())
    above = np.triu(np.ones_like(same), 1)
    for name, kind in (("pair_true_accept_rate", same & above), ("pair_false_accept_rate", ~same & above)):
        assert found[name] == pytest.approx((cosine[kind] >= threshold).mean())
    assert found["same_pairs"] + found["different_pairs"] == 435
    assert measure_acceptance(OpenSet.leave_one_out(data.embeddings, labels), 2.0)["precision"] is None


def test_images_of_unknown_identity_are_strangers_and_distractors_but_nothing_to_one_another() -> None:
    data = classes(6, 5)
    unknown = np.arange(30) >= 20  # ten images, each with a label of its own
    labels = np.where(unknown, np.arange(30) - 16, data.labels)
    data.embeddings[21] = data.embeddings[20]  # two that are nearest to each other
    images = OpenSet(data.embeddings, labels, np.arange(30), np.arange(30), unknown=unknown)
    cosine, found, listed = similarities(data), find_answers(images), find_nearest_classes(images)
    for query in range(30):
        strangers = [g for g in range(30) if labels[g] != labels[query] and not (unknown[g] and unknown[query])]
        expected = max(cosine[query, g] for g in strangers)
        assert found.nearest_other_class[query] == pytest.approx(expected, abs=1e-6)
        assert listed.similarity[query, 0] == pytest.approx(expected, abs=1e-6)
        assert found.known[query] == (not unknown[query])
    threshold = float(np.median(found.nearest_other_class[20:]))
    rates = measure_acceptance(images, threshold)
    assert rates["unknown_identity_accepted"] == np.mean(found.nearest_other_class[20:] >= threshold)
    assert (rates["known_queries"], rates["unknown_queries"], rates["unknown_identity_queries"]) == (20, 30, 10)
    assert rates["same_pairs"] + rates["different_pairs"] == 20 * 19 // 2
    assert images.known.classes == 4
    assert len(images.among(np.array([0, 1, 5])).labels) == 11
