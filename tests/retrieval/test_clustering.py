import numpy as np
import pytest

from eml.errors import DataError
from eml.retrieval import clustering as module
from eml.retrieval.clustering import clustering


def classes(spread: float, count: int = 6, each: int = 20) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(count), each)
    embeddings = np.eye(16)[labels] + random.normal(0, spread, (len(labels), 16))
    return (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).astype(np.float32), labels


def information(labels: np.ndarray, found: np.ndarray) -> float:
    """NMI by its formula, from the table of both."""
    joint = np.array([[((labels == a) & (found == b)).mean() for b in np.unique(found)] for a in np.unique(labels)])
    one, other = joint.sum(1), joint.sum(0)
    held = joint > 0
    mutual = (joint[held] * np.log(joint[held] / np.outer(one, other)[held])).sum()
    return float(2 * mutual / -((one * np.log(one)).sum() + (other * np.log(other)).sum()))


def test_classes_far_apart_are_found_and_mere_noise_is_not() -> None:
    assert clustering(*classes(0.01)) == pytest.approx({"nmi": 1, "ami": 1})
    embeddings, labels = classes(0.01)
    noise = clustering(embeddings, np.random.default_rng(1).permutation(labels))
    assert noise["ami"] == pytest.approx(0, abs=0.06)
    assert 0.03 < noise["nmi"] < 0.2  # what chance alone gives, and AMI takes off


def test_nmi_is_the_formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings, labels = classes(0.5)
    found = module._k_means(embeddings, 6, 28).fit_predict(embeddings)
    values = clustering(embeddings, labels)
    assert values["nmi"] == pytest.approx(information(labels, found))
    assert 0.2 < values["ami"] < values["nmi"] < 0.95
    assert clustering(embeddings, labels) == values
    monkeypatch.setattr(module, "FULL_WORK", 0)
    assert clustering(embeddings, labels)["nmi"] == pytest.approx(values["nmi"], abs=0.15)


def test_one_class_and_nan_are_errors() -> None:
    embeddings, labels = classes(0.1)
    with pytest.raises(DataError, match="two classes"):
        clustering(embeddings, np.zeros_like(labels))
    embeddings[3, 2] = np.nan
    with pytest.raises(DataError, match="1 embeddings are NaN"):
        clustering(embeddings, labels)
