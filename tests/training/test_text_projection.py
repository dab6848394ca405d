"""Text vectors in the space of embeddings, and the test whether they say anything about the images."""

import numpy as np
import pytest
import torch
from torch import Tensor

from eml.training.text_projection import CHANCE, centred, project_texts, text_fit


def vectors(count: int, size: int, seed: int = 0) -> Tensor:
    rows = torch.randn(count, size, generator=torch.Generator().manual_seed(seed)) + 0.5
    return torch.nn.functional.normalize(rows)


def test_all_cosines_between_the_centred_texts_stay_where_there_is_room() -> None:
    texts = vectors(30, 48)
    projected = project_texts(texts, 40, seed=1)
    cosines = centred(texts) @ centred(texts).T
    assert projected.shape == (30, 40)
    torch.testing.assert_close((projected @ projected.T).double(), cosines, rtol=0, atol=1e-5)
    assert torch.equal(projected, project_texts(texts, 40, seed=1))
    assert not torch.allclose(projected, project_texts(texts, 40, seed=2), atol=0.1)


def test_with_fewer_dimensions_than_texts_span_those_of_the_largest_variance_are_kept() -> None:
    random = torch.Generator().manual_seed(2)
    large, small = torch.randn(40, 4, generator=random), 0.05 * torch.randn(40, 12, generator=random)
    projected = project_texts(torch.cat([large, small], 1), 4, seed=0)
    torch.testing.assert_close(projected.norm(dim=1), torch.ones(40))
    assert text_fit(projected, large, 0).correlation > 0.99


def test_a_text_that_is_the_mean_of_all_and_equal_texts_give_finite_rows() -> None:
    equal = vectors(1, 6).expand(5, 6)
    assert not project_texts(equal, 8, seed=0).any()
    fit = text_fit(equal, vectors(5, 8), 0)
    assert (fit.correlation, fit.p_value, fit.is_related) == (0.0, 1.0, False)


def test_the_correlation_is_that_over_pairs_of_classes_and_its_p_value_counts_permutations() -> None:
    texts, means = vectors(9, 5), vectors(9, 7, seed=1)
    fit = text_fit(texts, means, 3)
    cosines = [(centred(rows) @ centred(rows).T).numpy() for rows in (texts, means)]
    above = np.triu_indices(9, 1)
    by_text, by_image = (matrix[above] for matrix in cosines)
    assert np.isclose(fit.correlation, np.corrcoef(by_text, by_image)[0, 1])
    random, as_good = np.random.default_rng(3), 1
    for _ in range(999):
        order = random.permutation(9)
        as_good += np.corrcoef(cosines[0][np.ix_(order, order)][above], by_image)[0, 1] >= fit.correlation - 1e-9
    assert fit.p_value == as_good / 1000
    assert fit.classes == 9


def test_texts_that_resemble_each_other_as_the_images_do_are_related_and_shuffled_ones_are_not() -> None:
    means = vectors(40, 16)
    texts = torch.cat([means + 0.2 * vectors(40, 16, seed=5), vectors(40, 8, seed=6)], 1)
    assert text_fit(texts, means, 0).is_related
    shuffled = [texts[torch.randperm(40, generator=torch.Generator().manual_seed(seed))] for seed in range(10)]
    assert [seed for seed, rows in enumerate(shuffled) if text_fit(rows, means, 0).is_related] == []


@pytest.mark.wide
def test_of_very_many_classes_some_are_compared_and_three_are_too_few_to_tell() -> None:
    many = vectors(600, 4)
    assert text_fit(many, many, 0).classes == 500
    assert text_fit(many[:3], many[:3], 0).p_value > CHANCE
    assert text_fit(many[:2], many[:2], 0).p_value == 1
