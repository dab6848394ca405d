"""What engines and float16 cost in recall, measured on an index's own embeddings."""

from pathlib import Path

import numpy as np
import pytest

from eml.indexing import graphs
from eml.indexing.measure import installed_engines, measure_engines, measure_float16, recall_by_cosine
from eml.indexing.store import IndexStore


def brute_force_recall(vectors: np.ndarray, changed: np.ndarray, k: int) -> float:
    """Return the share of the k nearest of each row that changed vectors find; images as near as the k-th count."""
    shares = []
    for row, vector in enumerate(vectors.astype(np.float64)):
        exact, rounded = np.delete(vectors @ vector, row), np.delete(changed @ vector, row)
        last = np.sort(exact)[-k]
        shares.append((exact[np.argsort(-rounded)[:k]] >= last - 1e-6).mean())
    return float(np.mean(shares))


def test_engines_are_measured_without_the_queries_own_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "GRAPH_ROWS", 100)
    vectors = np.random.default_rng(0).standard_normal((500, 16)).astype(np.float32)
    store = IndexStore.create(tmp_path / "i", size=16)
    store.add(vectors)
    measures = measure_engines(store, queries=20, k=5)
    assert [measure.engine for measure in measures] == installed_engines()
    for measure in measures:
        assert (measure.queries, measure.k) == (20, 5)
        assert measure.recall > 0.9
        assert min(measure.milliseconds, measure.exact_milliseconds, measure.first_seconds) > 0


def test_the_cost_of_float16_is_that_of_rounding_the_embeddings(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    vectors = (1 + 0.05 * random.standard_normal((1000, 8))).astype(np.float32)  # so near that rounding tells
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with IndexStore.create(tmp_path / "i", size=8) as store:
        store.add(vectors)
        value = measure_float16(store, queries=1000, k=10)
    half = vectors.astype(np.float16).astype(np.float32)
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    expected = brute_force_recall(vectors, half, 10)
    assert expected < 0.998
    assert value == pytest.approx(expected, abs=0.0005)
    with IndexStore.create(tmp_path / "j", size=8, storage="float16") as store:
        store.add(vectors)
        assert measure_float16(store) is None


def test_an_empty_index_and_one_of_few_images_are_measured_too(tmp_path: Path) -> None:
    store = IndexStore.create(tmp_path / "i", size=4)
    assert measure_engines(store) == []
    assert measure_float16(store) is None
    store.add(np.eye(4, dtype=np.float32)[:1])
    assert measure_float16(store) == 1
    store.add(np.eye(4, dtype=np.float32))
    assert {measure.recall for measure in measure_engines(store)} <= {1.0}
    assert measure_float16(store) == 1


def test_images_as_near_as_the_last_count_and_no_image_does_not() -> None:
    exact = np.array([[0.9, 0.5, 0.5], [0.8, -np.inf, -np.inf], [-np.inf] * 3], np.float32)
    same = np.array([[0.5, 0.9, 0.5], [0.8, -np.inf, -np.inf], [-np.inf] * 3], np.float32)
    worse = np.array([[0.9, 0.4, 0.3], [-np.inf] * 3, [-np.inf] * 3], np.float32)
    assert recall_by_cosine(exact, same) == 1
    assert recall_by_cosine(exact, worse) == pytest.approx(1 / 6)
