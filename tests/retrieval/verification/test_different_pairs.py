import numpy as np
import pytest

from eml.retrieval.verification import different_pairs
from eml.retrieval.verification.different_pairs import DifferentPairs
from eml.retrieval.verification.pair_counts import all_pairs
from tests.retrieval.verification.image_sets import classes, similarities


def test_pairs_weigh_as_much_as_their_classes_are_drawn() -> None:
    data = classes(7, 4)
    weights = np.array([0, 1, 1, 2, 3, 0, 0.0])
    pairs = DifferentPairs.above(data.embeddings, data.labels, -2.0, 0)
    drawn = np.repeat(np.arange(7), weights.astype(int))
    copies = np.concatenate([np.flatnonzero(data.labels == code) for code in drawn])
    cosine, labels = similarities(data)[np.ix_(copies, copies)], data.labels[copies]
    different = np.triu(labels[:, None] != labels, 1)
    for threshold in (0.2, 0.5, 0.8):
        rate = pairs.rates(np.array([threshold]), weights)[0]
        assert rate == pytest.approx((cosine[different] >= threshold).mean())
    threshold = pairs.thresholds(np.array([0.1]), weights)[0]
    assert (cosine[different] >= threshold - 1e-6).mean() <= 0.1 < (cosine[different] >= threshold - 2e-2).mean()


def test_only_the_pairs_that_are_needed_are_kept_and_many_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    data = classes(40, 10)
    counts = all_pairs(data.embeddings, data.labels)
    whole = DifferentPairs.above(data.embeddings, data.labels, -2.0, 0)
    tail = DifferentPairs.for_rate(data.embeddings, data.labels, counts, 0.01)
    assert len(tail.similarity) < len(whole.similarity) / 5
    assert tail.threshold(0.01) == whole.threshold(0.01)
    assert tail.reaches(0.04)
    assert not tail.reaches(0.2)
    monkeypatch.setattr(different_pairs, "MOST_PAIRS", 4000)
    thinned = DifferentPairs.for_rate(data.embeddings, data.labels, counts, 0.1)
    assert 3500 < len(thinned.similarity) < 4500
    assert whole.rate(thinned.threshold(0.1)) == pytest.approx(0.1, rel=0.1)
