"""Within-class whitening is numpy's eigendecomposition in one line, its shrinkages are scikit-learn's."""

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf, oas
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from eml.errors import DataError
from eml.retrieval.within_class import NO_VARIANCE_CODE, WithinClass, fit_within_class


def labelled(images: int, features: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return features whose directions differ in their variance, of classes of two or more, and one of one image."""
    random = np.random.default_rng(seed)
    labels = np.r_[np.arange(classes).repeat(2), random.integers(0, classes, images - 2 * classes - 1), classes]
    spread = np.linspace(0.1, 3, features)
    values = random.standard_normal((classes + 1, features))[labels] + spread * random.standard_normal(
        (images, features)
    )
    return (values + 5).astype(np.float32), labels


def deviations(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the deviations from the class means of the images whose class has another one."""
    rows = rows.astype(np.float64)
    parts = [rows[labels == label] - rows[labels == label].mean(0) for label in np.unique(labels)]
    return np.concatenate([part for part in parts if len(part) > 1])


def cosines(rows: np.ndarray) -> np.ndarray:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(unit @ unit.T)


@pytest.mark.parametrize("images", [60, 12], ids=["more images than features", "fewer images than features"])
@pytest.mark.parametrize("power", [1.0, 0.5])
def test_whitened_features_are_those_of_the_formula(images: int, power: float) -> None:
    rows, labels = labelled(images, 20, 4)
    part = deviations(rows, labels)
    variances, directions = np.linalg.eigh(part.T @ part / len(part))
    shrunk = 0.7 * variances + 0.3 * variances.mean()
    expected = (rows.astype(np.float64) - rows.astype(np.float64).mean(0)) @ (directions * shrunk ** (-power / 2))
    projection = fit_within_class(rows, labels, shrinkage=0.3, power=power)
    assert cosines(projection.transform(rows).double().numpy()) == pytest.approx(cosines(expected), abs=1e-6)
    assert projection.size == 20
    length = np.sqrt((rows.astype(np.float64) ** 2).sum(1).mean())
    assert float(projection.apply(rows).square().sum(1).mean().sqrt()) == pytest.approx(length)


@pytest.mark.parametrize("images", [60, 12])
def test_shrinkages_are_those_of_scikit_learn(images: int) -> None:
    rows, labels = labelled(images, 20, 4)
    part, within = deviations(rows, labels), WithinClass.of(rows, labels)
    assert within.shrinkage("ledoit_wolf") == pytest.approx(ledoit_wolf(part, assume_centered=True)[1])
    assert within.shrinkage("oas") == pytest.approx(oas(part, assume_centered=True)[1])


def test_fewer_dimensions_are_those_of_linear_discriminant_analysis() -> None:
    rows, labels = labelled(200, 6, 4)
    rows, labels = rows[:-1], labels[:-1]
    analysis = LinearDiscriminantAnalysis(solver="eigen", n_components=3).fit(rows.astype(np.float64), labels)
    discriminants = analysis.transform(rows.astype(np.float64))
    projection = fit_within_class(rows, labels, shrinkage=0.0, size=3)
    expected = cosines(discriminants - discriminants.mean(0))
    assert cosines(projection.transform(rows).double().numpy()) == pytest.approx(expected, abs=1e-6)
    fewer = fit_within_class(rows, labels, shrinkage=0.0, size=2).matrix.numpy()
    matrix = projection.matrix.numpy()
    assert fewer / np.linalg.norm(fewer[0]) == pytest.approx(matrix[:2] / np.linalg.norm(matrix[0]))


@pytest.mark.parametrize("images", [60, 12])
def test_more_dimensions_than_class_means_span_are_independent_and_all_of_them_are_the_whole(images: int) -> None:
    rows, labels = labelled(images, 20, 4)
    within = WithinClass.of(rows, labels)
    for size in (4, 5, 12, 19, 20):
        matrix = within.projection(0.3, size).matrix.numpy()
        assert np.linalg.matrix_rank(matrix) == size
    assert within.projection(0.3, 20).matrix.equal(within.projection(0.3).matrix)
    again = WithinClass.of(rows, labels).projection(0.3, 12)
    assert again.matrix.equal(within.projection(0.3, 12).matrix), "the same bits every time"


def test_full_shrinkage_and_no_power_only_centre() -> None:
    rows, labels = labelled(60, 20, 4)
    within = WithinClass.of(rows, labels)
    for projection in (within.projection(1.0), within.projection(0.2, power=0.0)):
        scale = projection.matrix[0, 0].item()
        assert (projection.matrix / scale).numpy() == pytest.approx(np.eye(20), abs=1e-12)
        assert projection.mean.numpy() == pytest.approx(rows.astype(np.float64).mean(0))


def test_features_that_never_change_stay_finite_and_do_not_count() -> None:
    rows, labels = labelled(60, 20, 4)
    with_constants = np.c_[rows, np.full((60, 3), 7.0, np.float32)]
    result = fit_within_class(with_constants, labels, shrinkage=0.3 * 20 / 23).transform(with_constants)
    assert result.isfinite().all()
    with pytest.raises(DataError, match="in 20 of 23 directions: without shrinkage there is no whitening"):
        fit_within_class(with_constants, labels, shrinkage=0.0)
    with pytest.raises(DataError, match="in 7 of 20 directions"):
        fit_within_class(*labelled(12, 20, 4), shrinkage=0.0)


def test_without_two_images_of_a_class_that_differ_there_is_nothing_to_learn() -> None:
    rows, _ = labelled(12, 20, 4)
    doubled = np.repeat(rows[:6], 2, axis=0)
    for values, labels in ((rows, np.arange(12)), (doubled, np.arange(6).repeat(2)), (np.ones((4, 3)), [0, 0, 1, 1])):
        assert WithinClass.or_none(values, labels) is None
        with pytest.raises(DataError, match="no class has two images that differ") as caught:
            WithinClass.of(values, labels)
        assert caught.value.code == NO_VARIANCE_CODE


def test_features_and_values_that_cannot_be_used_are_refused() -> None:
    rows, labels = labelled(60, 20, 4)
    broken = rows.copy()
    broken[17, 3] = np.nan
    with pytest.raises(DataError, match="NaN or infinite, first: row 17"):
        WithinClass.or_none(broken, labels)
    with pytest.raises(DataError, match="60 features have 59 labels"):
        WithinClass.of(rows, labels[1:])
    within = WithinClass.of(rows, labels)
    for values, match in (
        ({"shrinkage": 1.5}, "shrinkage must be from 0 to 1"),
        ({"shrinkage": "shrunk"}, "shrinkage must be from 0 to 1, ledoit_wolf or oas, got shrunk"),
        ({"size": 21}, "size must be from 1 to 20"),
        ({"power": -1.0}, "power must be 0 or more"),
    ):
        with pytest.raises(DataError, match=match):
            within.projection(**values)
    with pytest.raises(DataError, match="the projection is of 20 numbers, and the features have 19"):
        within.projection().apply(rows[:, 1:])
