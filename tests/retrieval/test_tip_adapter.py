"""The cache of labelled images: its logits, and the choice of its weights without a look at the test."""

import numpy as np
import pytest
import torch

from eml.errors import DataError
from eml.retrieval import tip_adapter
from eml.retrieval.tip_adapter import ALPHAS, BETAS, SCALE, TipAdapter, class_means, fit_tip_adapter
from eml.retrieval.zero_shot import classify_by_vectors


def world(seed: int, *, names: float, images: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return images (120, 16) of 12 classes, labels and texts; the higher a noise, the less there is to learn of."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((12, 16))
    labels = np.arange(120) % 12
    rows = centres[labels] + images * random.standard_normal((120, 16))
    return rows, labels, centres + names * random.standard_normal((12, 16))


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def logits_by_loop(
    query: np.ndarray, cache: np.ndarray, labels: np.ndarray, texts: np.ndarray, **weights
) -> np.ndarray:
    logits = weights["scale"] * texts @ query
    for row, label in zip(cache, labels, strict=True):
        logits[label] += weights["alpha"] * np.exp(-weights["beta"] * (1 - row @ query))
    return logits


def test_logits_equal_the_papers_formula_by_a_loop(monkeypatch) -> None:
    monkeypatch.setattr(tip_adapter, "ENTRIES", 500)
    rows, labels, texts = world(0, names=1, images=1)
    weights = {"scale": 20.0, "alpha": 1.5, "beta": 4.0}
    adapter = TipAdapter(*(torch.from_numpy(unit(part)) for part in (texts, rows[:80])), labels[:80], **weights)
    places = adapter.classify(3 * rows[80:], labels[80:])
    for query, label, rank, answer in zip(unit(rows[80:]), labels[80:], places.ranks, places.answers, strict=True):
        logits = logits_by_loop(query, unit(rows[:80]), labels[:80], unit(texts), **weights)
        assert answer == logits.argmax()
        assert rank == (logits > logits[label]).sum() + 1


def test_weights_are_those_by_which_most_held_out_images_are_right() -> None:
    rows, labels, texts = world(1, names=1.5, images=1.5)
    rows, labels = unit(rows[:60]), labels[:60]
    adapter = fit_tip_adapter(rows, labels, texts)
    right = dict.fromkeys([(alpha, beta) for alpha in ALPHAS for beta in BETAS], 0)
    for i, beta in [(i, beta) for i in range(60) for beta in BETAS]:
        others = np.arange(60) != i
        votes = logits_by_loop(rows[i], rows[others], labels[others], unit(texts), scale=0, alpha=1, beta=beta)
        votes[labels[i]] *= 5 / 4  # 4 of the 5 images of its class are left
        for alpha in ALPHAS:
            right[alpha, beta] += int((SCALE * unit(texts) @ rows[i] + alpha * votes).argmax() == labels[i])
    assert right[adapter.alpha, adapter.beta] == max(right.values())
    assert adapter.held_out == max(right.values()) / 60
    assert adapter.held_out_names == right[0.0, BETAS[0]] / 60
    assert adapter.judges == 60
    assert adapter.held_out > adapter.held_out_names


def test_names_and_images_together_beat_each_alone_where_both_say_something() -> None:
    scores = {"names": [], "images": [], "both": []}
    for seed in range(4):
        rows, labels, texts = world(seed, names=2.0, images=2.0)
        train = np.arange(120) < 36  # three of each class
        adapter = fit_tip_adapter(rows[train], labels[train], texts)
        means = class_means(rows[train], labels[train], 12)
        scores["names"].append(classify_by_vectors(rows[~train], labels[~train], texts).values()["top_1"])
        scores["images"].append(classify_by_vectors(rows[~train], labels[~train], means).values()["top_1"])
        scores["both"].append(adapter.classify(rows[~train], labels[~train]).values()["top_1"])
    mean = {name: np.mean(values) for name, values in scores.items()}
    assert mean["both"] > max(mean["names"], mean["images"])


def test_images_that_say_nothing_are_not_listened_to() -> None:
    random = np.random.default_rng(0)
    texts = np.eye(12, 16)
    rows, labels = texts.repeat(6, 0) + 0.05 * random.standard_normal((72, 16)), np.arange(12).repeat(6)
    assert fit_tip_adapter(rows, labels, texts).held_out == 1.0
    shuffled = random.permutation(labels)
    adapter = fit_tip_adapter(rows, shuffled, texts)
    assert adapter.held_out >= adapter.held_out_names


def test_the_scale_changes_the_weight_and_nothing_else() -> None:
    rows, labels, texts = world(1, names=1.5, images=1.5)
    usual, low = (fit_tip_adapter(rows[:60], labels[:60], texts, scale=scale) for scale in (SCALE, 50.0))
    assert low.beta == usual.beta or low.held_out == usual.held_out
    assert low.held_out == usual.held_out
    assert low.alpha / 50.0 in [alpha / SCALE for alpha in ALPHAS]


def test_arrays_of_several_precisions_go_together() -> None:
    rows, labels, texts = world(1, names=1.0, images=1.0)
    adapter = fit_tip_adapter(rows[:60].astype(np.float32), labels[:60], texts)
    exact = fit_tip_adapter(rows[:60], labels[:60], texts.astype(np.float32))
    assert (adapter.alpha, adapter.beta) == (exact.alpha, exact.beta)
    assert adapter.classify(rows[60:], labels[60:]).values() == exact.classify(rows[60:], labels[60:]).values()


def test_a_single_image_of_each_class_cannot_choose() -> None:
    with pytest.raises(DataError, match="3 labelled images: no class has two of them") as caught:
        fit_tip_adapter(np.eye(3), [0, 1, 2], np.eye(3))
    assert caught.value.code == "too-few-images"


def test_many_images_are_judged_by_some_of_each_class(monkeypatch) -> None:
    rows, labels, texts = world(2, names=1, images=1)
    monkeypatch.setattr(tip_adapter, "JUDGES", 24)
    judges = tip_adapter._judges(labels)
    assert len(judges) == 24
    assert set(labels[judges]) == set(range(12))
    assert fit_tip_adapter(rows, labels, texts).judges == 24
