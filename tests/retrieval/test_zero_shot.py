"""Images classified by the texts of their classes, against a plain loop."""

import numpy as np
import pytest
import torch

from eml.errors import DataError
from eml.retrieval.statistics import intervals
from eml.retrieval.zero_shot import ClassPlaces, classify_by_vectors, misnamed_classes


def world(seed: int, classes: int = 8, images: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    if seed % 2:  # with equal cosines
        return (
            np.eye(4)[random.integers(0, 4, images)],
            random.integers(0, classes, images),
            np.eye(4)[random.integers(0, 4, classes)],
        )
    return (
        random.standard_normal((images, 6)),
        random.integers(0, classes, images),
        random.standard_normal((classes, 6)),
    )


@pytest.mark.parametrize("seed", range(6))
def test_accuracies_equal_a_loop_and_scores_give_the_same_places(seed: int) -> None:
    images, labels, texts = world(seed)
    places = classify_by_vectors(images, labels, texts)
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (images, texts)]
    cosines = unit[0] @ unit[1].T
    orders = [sorted(range(8), key=lambda c: (-row[c], c)) for row in cosines]
    assert places.ranks.tolist() == [order.index(label) + 1 for order, label in zip(orders, labels, strict=True)]
    assert places.answers.tolist() == [order[0] for order in orders]
    firsts = [order[0] == label for order, label in zip(orders, labels, strict=True)]
    by_class = [np.mean([right for right, own in zip(firsts, labels, strict=True) if own == c]) for c in set(labels)]
    fives = [label in order[:5] for order, label in zip(orders, labels, strict=True)]
    expected = {"top_1": np.mean(firsts), "top_5": np.mean(fives), "mean_per_class": np.mean(by_class)}
    assert places.values() == pytest.approx(expected)
    assert places.chance() == pytest.approx({"top_1": 1 / 8, "top_5": 5 / 8, "mean_per_class": 1 / 8})
    parts = [
        ClassPlaces.by_scores(torch.from_numpy(cosines[part]), labels[part]) for part in (slice(40), slice(40, 60))
    ]
    joined = ClassPlaces.join(parts)
    assert (joined.ranks.tolist(), joined.answers.tolist()) == (places.ranks.tolist(), places.answers.tolist())


def test_intervals_are_over_classes_and_contain_their_values() -> None:
    images, labels, texts = world(0, classes=30, images=300)
    places = classify_by_vectors(images + 2 * texts[labels], labels, texts)
    values, found = places.values(), places.intervals()
    assert set(found) == set(values)
    assert all(found[name].low <= values[name] <= found[name].high for name in values)
    assert found["top_1"] == intervals({"a": (places.ranks == 1) * 1.0}, labels)["a"]
    assert found["mean_per_class"].classes == len(set(labels))
    alike = places.differences(places)
    assert all(change.alike and change.value == 0 for change in alike.values())


def test_of_five_classes_there_is_no_top_5() -> None:
    images, labels, texts = world(2, classes=5)
    assert set(classify_by_vectors(images, labels, texts).values()) == {"top_1", "mean_per_class"}


def test_the_worst_classes_are_named_with_what_they_are_taken_for() -> None:
    places = ClassPlaces(np.array([0, 0, 0, 1, 2, 2]), np.array([2, 3, 1, 1, 2, 2]), np.array([2, 2, 0, 1, 1, 1]), 4)
    worst = misnamed_classes(places, ["a", "b", "c", "d"], 2)
    assert [(each.label, each.images, each.right, each.answer, each.times) for each in worst] == [
        ("c", 2, 0.0, "b", 2),
        ("a", 3, pytest.approx(1 / 3), "c", 2),
    ]
    assert misnamed_classes(places, ["a", "b", "c", "d"], 9)[-1].answer is None


def test_an_image_of_no_class_is_an_error() -> None:
    with pytest.raises(DataError, match="1 images are of no class that has a vector"):
        classify_by_vectors(np.eye(3), [0, 1, -1], np.eye(3))
    with pytest.raises(DataError, match="classes of images must be from −1 to 2, got 0 to 3"):
        classify_by_vectors(np.eye(3), [0, 1, 3], np.eye(3))
