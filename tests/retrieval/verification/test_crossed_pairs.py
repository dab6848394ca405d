import numpy as np
import pytest
import torch

from eml.errors import DataError
from eml.retrieval import similarity
from eml.retrieval.verification import crossed_pairs
from eml.retrieval.verification.crossed_pairs import all_crossed_pairs, count_crossed_pairs_at

LABELS = np.repeat(np.arange(5), 4)


def two_models(dimension: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(0)
    centers = random.normal(size=(5, dimension))[LABELS]
    first, second = (torch.from_numpy(centers + random.normal(0, 1, centers.shape)).float() for _ in range(2))
    return first, second


def test_pairs_are_each_image_by_the_first_model_with_each_further_image_by_the_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = two_models()
    monkeypatch.setattr(crossed_pairs, "PAIR_ENTRIES", 70)  # three rows at once, so several tiles
    unit = [torch.nn.functional.normalize(rows).double().numpy() for rows in (first, second)]
    listed = [(float(unit[0][i] @ unit[1][j]), LABELS[i] == LABELS[j]) for i in range(20) for j in range(20) if i != j]
    same = sorted(cosine for cosine, alike in listed if alike)
    accepted = all_crossed_pairs(first, second, LABELS)
    assert (accepted.same[-1], accepted.different[-1]) == (5 * 4 * 3, 20 * 19 - 60)
    assert accepted.threshold[0] == pytest.approx(max(cosine for cosine, _ in listed), abs=1e-6)
    middle = (same[29] + same[30]) / 2
    counts = count_crossed_pairs_at(first, second, LABELS, middle)
    assert (counts.same, counts.all_same, counts.all_different) == (30, 60, 320)
    assert counts.different == sum(cosine >= middle and not alike for cosine, alike in listed)


def test_bins_count_the_same_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = two_models()
    exact = all_crossed_pairs(first, second, LABELS)
    monkeypatch.setattr(crossed_pairs, "EXACT_PAIRS", 0)
    monkeypatch.setattr(similarity, "PAIR_ENTRIES", 70)
    binned = all_crossed_pairs(first, second, LABELS)
    assert binned.bin_width == 2.0**-19
    for edge, same, different in zip(binned.threshold, binned.same, binned.different, strict=True):
        place = np.searchsorted(-exact.threshold, -edge + 1e-9, side="right") - 1
        assert (same, different) == (exact.same[place], exact.different[place])


def test_embeddings_of_two_sizes_are_refused() -> None:
    with pytest.raises(DataError, match="of one size"):
        count_crossed_pairs_at(two_models()[0], two_models(7)[1], LABELS, 0.5)
