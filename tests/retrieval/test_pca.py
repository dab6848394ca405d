"""Principal components are those of numpy's singular values, and whitening makes the components alike."""

import numpy as np
import pytest

from eml.errors import DataError
from eml.retrieval.pca import fit_pca


def embedded() -> np.ndarray:
    random = np.random.default_rng(0)
    return random.standard_normal((300, 6)) * [5, 3, 2, 1, 0.5, 0.1] + 2


@pytest.mark.parametrize("whiten", [True, False])
@pytest.mark.parametrize("size", [None, 3])
def test_transformed_embeddings_are_those_of_the_formula(whiten: bool, size: int | None) -> None:
    rows, others = embedded(), embedded()[:40] + 0.3
    result = fit_pca(rows, size, whiten=whiten).transform(others).numpy()
    unit, other = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (rows, others))
    _, singular, directions = np.linalg.svd(unit - unit.mean(0), full_matrices=False)
    expected = (other - unit.mean(0)) @ directions[:size].T
    if whiten:
        expected /= singular[:size] / np.sqrt(len(rows) - 1)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    signs = np.sign((expected * result).sum(0))  # a direction and its opposite are the same component
    assert result == pytest.approx(expected * signs, abs=1e-5)


def test_components_without_variance_are_left_out_and_cannot_be_asked_for() -> None:
    rows = np.random.default_rng(1).standard_normal((4, 6))
    assert fit_pca(rows).size == 3
    with pytest.raises(DataError, match="have 3 components with variance, and 5 are asked for"):
        fit_pca(rows, 5)


def test_a_truncated_projection_is_that_of_fewer_components() -> None:
    whole, part = fit_pca(embedded()), fit_pca(embedded(), 2)
    assert whole.truncated(2).transform(embedded()).numpy() == pytest.approx(part.transform(embedded()).numpy())
