"""Chance pairs are foretold where their number is known, and duplicates do not count among them."""

import numpy as np
import pytest

from eml.dataset.duplicates import chance_collisions
from eml.dataset.duplicates.chance_collisions import PairsAcrossClasses, count_pairs_across, estimate_collisions
from eml.dataset.duplicates.hamming import Hashes


def random_hashes(count: int, seed: int = 0) -> Hashes:
    """32 of 64 bits set, as a median threshold sets them."""
    numbers = np.random.default_rng(seed).random((count, 64))
    packed = np.packbits(numbers > np.median(numbers, axis=1, keepdims=True), axis=1)
    return packed.view(">u8").ravel().astype(np.uint64)


def test_of_random_hashes_the_share_is_known() -> None:
    values = random_hashes(4000)
    labels = np.arange(4000) % 40
    # Σ C(32,k)² / C(64,32) over the even distances 2k: 2.3 · 10⁻⁸ at up to 10 bits
    expected = estimate_collisions(values, labels, 16)
    assert expected.compared == 4000 * 3900 // 2
    assert expected.near_expected_by_chance == pytest.approx(expected.near, rel=0.25)
    assert estimate_collisions(values, labels, 10).near_expected_by_chance == pytest.approx(
        2.3e-8 * expected.compared, rel=1
    )


def test_a_sample_foretells_what_all_pairs_do(monkeypatch: pytest.MonkeyPatch) -> None:
    values, labels = random_hashes(3000), np.arange(3000) % 7
    of_all = estimate_collisions(values, labels, 18)
    monkeypatch.setattr(chance_collisions, "SAMPLE", 2**21)
    sampled = estimate_collisions(values, labels, 18)
    assert sampled.near_expected_by_chance == pytest.approx(of_all.near_expected_by_chance, rel=0.3)
    assert sampled != of_all
    assert (sampled.near, sampled.compared) == (of_all.near, of_all.compared)


def test_duplicates_under_other_labels_are_found_and_not_foretold() -> None:
    values = random_hashes(1500)
    doubled, labels = np.concatenate([values, values]), np.repeat([0, 1], 1500)
    expected = estimate_collisions(doubled, labels, 10)
    assert expected.near >= 1500
    assert expected.near_expected_by_chance < 1


@pytest.mark.parametrize("labels", [[], [0], [0, 0, 0]])
def test_without_two_classes_there_is_nothing_to_expect(labels: list[int]) -> None:
    values = np.zeros(len(labels), dtype=np.uint64)
    assert estimate_collisions(values, np.array(labels, dtype=np.int64), 10) == PairsAcrossClasses(0, 0, 0.0)


def test_identical_hashes_of_few_images_are_counted_as_pairs() -> None:
    values, labels = np.zeros(5, dtype=np.uint64), np.array([0, 0, 0, 1, 1])
    assert count_pairs_across(values, labels, 0) == 6
    assert estimate_collisions(values, labels, 0) == PairsAcrossClasses(6, 6, pytest.approx(0, abs=1e-9))
