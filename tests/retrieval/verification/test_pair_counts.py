import numpy as np
import pytest
import torch

from eml.errors import DataError
from eml.retrieval import similarity
from eml.retrieval.verification import pair_counts
from eml.retrieval.verification.pair_counts import all_pairs, count_pairs
from eml.retrieval.verification.pair_rates import area_error, area_under_curve, shown, verification_metrics

RANDOM = np.random.default_rng(0)


def classes(count: int = 12, each: int = 9, dimension: int = 8, spread: float = 1.0) -> tuple[torch.Tensor, np.ndarray]:
    labels = np.repeat(np.arange(count), each)
    centers = RANDOM.normal(size=(count, dimension))
    return torch.from_numpy(centers[labels] + RANDOM.normal(0, spread, (len(labels), dimension))).float(), labels


@pytest.mark.parametrize("spread", [0.3, 1.0])
def test_bins_agree_with_sorting_to_within_a_bin(spread: float, monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings, labels = classes(spread=spread)
    embeddings[5] = embeddings[6]  # a copy, whose cosine may round to more than 1
    exact = all_pairs(embeddings, labels)
    monkeypatch.setattr(pair_counts, "EXACT_PAIRS", 0)
    monkeypatch.setattr(similarity, "PAIR_ENTRIES", 300)  # several tiles, the last of them of several rows
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
    for name, value in verification_metrics(exact).items():
        assert verification_metrics(binned)[name] == pytest.approx(value, abs=2e-5), name
    assert [shown(name) for name in verification_metrics(binned)][-2:] == [
        "step between thresholds",
        "error of the AUC, at most",
    ]


def test_all_pairs_are_every_two_images_once() -> None:
    embeddings, labels = classes(5, 4)
    accepted = all_pairs(embeddings, labels)
    unit = torch.nn.functional.normalize(embeddings).numpy()
    first, second = np.triu_indices(len(labels), 1)
    plain = count_pairs((unit[first] * unit[second]).sum(1), labels[first] == labels[second])
    assert (accepted.same[-1], accepted.different[-1]) == (5 * 6, 190 - 30)
    assert area_under_curve(accepted) == pytest.approx(area_under_curve(plain), abs=1e-4)
    assert accepted.threshold[0] == pytest.approx(plain.threshold[0], abs=1e-6)


def test_one_kind_of_pairs_and_nan_are_errors() -> None:
    embeddings, labels = classes(3, 3)
    with pytest.raises(DataError, match="1 pair is of the same class and 0 of different ones"):
        count_pairs(np.array([0.5]), np.array([True]))
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
        count_pairs(np.array([0.1, np.nan]), np.array([True, False]))
