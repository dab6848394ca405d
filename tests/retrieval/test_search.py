"""The nearest images are those of a full sort in float64, whichever engine chose them."""

import sys

import numpy as np
import pytest
import torch

from eml.errors import ConfigError, DataError
from eml.retrieval import search, similarity
from eml.retrieval.search import nearest


def by_sort(queries: torch.Tensor, gallery: torch.Tensor, k: int, itself: np.ndarray) -> np.ndarray:
    similarity = (queries.double()[:, None] * gallery.double()).sum(2).numpy()
    own = np.flatnonzero(itself >= 0)
    similarity[own, itself[own]] = -np.inf
    order = np.lexsort((np.broadcast_to(np.arange(len(gallery)), similarity.shape), -similarity), axis=1)[:, :k]
    return np.where(np.take_along_axis(similarity, order, 1) == -np.inf, -1, order)


def sets():
    random = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(150, 16, generator=random))
    yield "random", rows
    yield "copies", rows[:30].repeat(5, 1)
    yield "all equal", rows[:1].repeat(150, 1)
    yield "nearly equal", torch.nn.functional.normalize(rows[:1] + 1e-6 * rows)
    yield "nearly equal in float64", torch.nn.functional.normalize(rows[:1].double() + 1e-6 * rows.double())


@pytest.mark.filterwarnings("ignore:builtin type:DeprecationWarning")
@pytest.mark.parametrize("engine", ["exact", "bfloat16", "faiss"])
@pytest.mark.parametrize("name, rows", list(sets()), ids=[name for name, _ in sets()])
def test_nearest_equals_a_sort_in_float64(name, rows, engine, monkeypatch) -> None:
    if engine == "faiss":
        pytest.importorskip("faiss")
    monkeypatch.setattr(similarity, "BLOCK", 64)
    monkeypatch.setattr(search, "TILE", 33)
    monkeypatch.setattr(search, "PAIRS", 500)
    monkeypatch.setattr(search, "AS_NEAR", 3)
    itself = np.arange(150)
    itself[:7] = -1
    unit = torch.nn.functional.normalize(rows.double())
    for k in (1, 5, 149, 150):
        found = nearest(rows, rows, k, itself=itself, engine=engine)
        assert found.indices.tolist() == by_sort(unit, unit, k, itself).tolist(), k
        exact = nearest(rows, rows, k, itself=itself)
        assert np.array_equal(found.similarities, exact.similarities)


def test_more_neighbours_than_the_gallery_has_are_none() -> None:
    found = nearest(torch.eye(3), torch.eye(3)[:2], 4)
    assert found.indices.tolist() == [[0, 1, -1, -1], [1, 0, -1, -1], [0, 1, -1, -1]]
    assert found.similarities[0].tolist() == [1, 0, -np.inf, -np.inf]


def test_what_cannot_be_searched_is_told(monkeypatch) -> None:
    with pytest.raises(DataError, match=r"must be of one size, got \(2, 2\) and \(3, 3\)"):
        nearest(torch.eye(2), torch.eye(3), 1)
    with pytest.raises(DataError, match="1 of 2 gallery embeddings are NaN"):
        nearest(torch.eye(2), torch.tensor([[1.0, 0], [float("nan"), 0]]), 1)
    with pytest.raises(ConfigError, match="unknown engine 'annoy'; there are: exact, bfloat16, faiss"):
        nearest(torch.eye(2), torch.eye(2), 1, engine="annoy")
    for k in (-1, 1.5, True):
        with pytest.raises(ConfigError, match=f"k must be a whole number of neighbours, 0 or more, got {k}"):
            nearest(torch.eye(2), torch.eye(2), k)
    with pytest.raises(DataError, match="positions of own images must be from −1 to 1, got 0 to 2"):
        nearest(torch.eye(2), torch.eye(2), 1, itself=[0, 2])
    with pytest.raises(DataError, match="2 queries and 1 positions of own images"):
        nearest(torch.eye(2), torch.eye(2), 1, itself=[0])
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigError, match=r"needs the faiss package: pip install 'easy-metric-learning\[faiss\]'"):
        nearest(torch.eye(2), torch.eye(2), 1, engine="faiss")


def test_a_gallery_without_images_has_no_neighbours() -> None:
    assert nearest(torch.eye(3), torch.eye(3)[:0], 2).indices.tolist() == [[-1, -1]] * 3


def test_half_precision_is_compared_as_its_values_are() -> None:
    rows = (3 * torch.randn(40, 8, generator=torch.Generator().manual_seed(0))).half()
    one, other = nearest(rows, rows, 5), nearest(rows.double(), rows.double(), 5)
    assert np.array_equal(one.indices, other.indices)
    assert np.abs(one.similarities - other.similarities).max() < 1e-6


def test_bfloat16_finds_the_nearest_where_factors_and_result_are_all_rounded_down() -> None:
    """954 products of 1.0039·2⁻⁵ with itself: .93886, in bfloat16 954/1024 rounded to even, .92969.

    100 images of 953 such products have the same rounded cosine and are candidates first. With a bound for the factors
    alone, 2⁻⁷, their true cosine of .93788 looks certain to be the highest.
    """
    entry = torch.tensor(1.0039 * 2**-5)

    def vector(count: int, own: int) -> torch.Tensor:
        row = torch.zeros(956)
        row[:count] = entry
        row[own] = (1 - row.square().sum()).sqrt()
        return row

    for place in (0, 50, 100):
        gallery = vector(953, 955).repeat(101, 1)
        gallery[place] = vector(954, 955)
        found = nearest(vector(954, 954)[None], gallery, 1, engine="bfloat16")
        assert found.indices.tolist() == [[place]]
        assert found.similarities[0, 0] == pytest.approx(954 * float(entry) ** 2, abs=1e-6)


@pytest.mark.parametrize("engine", ["exact", "bfloat16"])
def test_arrays_and_tensors_with_a_gradient_are_searched_alike(engine: str) -> None:
    rows = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    expected = nearest(rows, rows, 3, itself=np.arange(20), engine=engine)
    for queries in (rows.numpy(), rows.clone().requires_grad_(), rows.numpy().astype(">f4")):
        found = nearest(queries, queries, 3, itself=list(range(20)), engine=engine)
        assert np.array_equal(found.indices, expected.indices)
