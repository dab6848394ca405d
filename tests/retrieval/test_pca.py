"""Principal components are those of numpy's singular values, and whitening makes the components alike."""

import numpy as np
import pytest

from eml.errors import DataError
from eml.retrieval.pca import fit_pca, fit_pca_projection


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


def test_a_power_between_none_and_whitening_multiplies_each_component() -> None:
    plain = fit_pca(embedded(), whiten=False)
    half = fit_pca(embedded()).with_power(0.5)
    assert half.matrix().numpy() == pytest.approx((plain.components / plain.variances.unsqueeze(1) ** 0.25).numpy())
    assert plain.with_power(1).matrix().equal(fit_pca(embedded()).matrix())
    assert fit_pca(embedded()).with_power(0).matrix().equal(plain.matrix())
    with pytest.raises(DataError, match="power must be 0 or more"):
        plain.with_power(-1)


def test_components_of_features_as_they_are_make_an_affine_map_of_these() -> None:
    rows = embedded()
    projection = fit_pca_projection(rows, 4, power=1.0)
    results = projection.apply(rows).numpy()
    assert np.cov(results.T) == pytest.approx(np.eye(4) * results[:, 0].var(ddof=1), abs=1e-9)
    assert np.sqrt((results**2).sum(1).mean()) == pytest.approx(np.sqrt((rows**2).sum(1).mean()))
    _, _, directions = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    plain = fit_pca_projection(rows, 4, power=0.0).matrix.numpy()
    assert np.abs(plain @ directions[:4].T) / np.linalg.norm(plain[0]) == pytest.approx(np.eye(4), abs=1e-9)
    rows[3, 2] = np.inf
    with pytest.raises(DataError, match="NaN or infinite, first: row 3"):
        fit_pca_projection(rows)
