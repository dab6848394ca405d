"""Every metric equals a plain loop over a full sort, on random and on adversarial embeddings."""

import numpy as np
import pytest
import torch

from eml.errors import DataError
from eml.retrieval import ranking
from eml.retrieval.metrics import summarise
from eml.retrieval.ranking import rank


def by_loop(queries, query_labels, gallery, gallery_labels, itself):
    """Definitions, literally: for each query sort the gallery by (−cosine, index), walk down the list."""
    sums: dict[str, list[float]] = {}
    for q, label, own in zip(queries, query_labels, itself, strict=True):
        scores = [(-float(q @ g), j) for j, g in enumerate(gallery) if j != own]
        hits = [gallery_labels[j] == label for _, j in sorted(scores)]
        partners = sum(hits)
        if not partners:
            continue
        precision = [sum(hits[: i + 1]) / (i + 1) if hit else 0.0 for i, hit in enumerate(hits)]
        for k in (1, 5, 10):
            sums.setdefault(f"recall_at_{k}", []).append(float(any(hits[:k])))
        sums.setdefault("map_at_r", []).append(sum(precision[:partners]) / partners)
        sums.setdefault("r_precision", []).append(sum(hits[:partners]) / partners)
        sums.setdefault("mean_average_precision", []).append(sum(precision) / partners)
    return {name: float(np.mean(values)) for name, values in sums.items()}


def unit(rows: torch.Tensor) -> torch.Tensor:
    return rows / rows.norm(dim=1, keepdim=True)


def sets():
    random = torch.Generator().manual_seed(0)
    rows = unit(torch.randn(60, 8, generator=random, dtype=torch.float64))
    corners = torch.eye(4, dtype=torch.float64)[torch.randint(4, (40,), generator=random)]
    labels = np.random.default_rng(0).integers(0, 12, 60)
    yield "random", rows, labels
    yield "ties and copies", corners, labels[:40]
    yield "singletons", rows, np.concatenate([labels[:30], np.arange(100, 130)])
    yield "one class", rows[:9], np.zeros(9, np.int64)
    yield "gallery smaller than k", rows[:3], np.array([0, 0, 1])


@pytest.mark.parametrize("name, rows, labels", list(sets()), ids=[name for name, _, _ in sets()])
def test_leave_one_out_equals_the_loop(name, rows, labels, monkeypatch) -> None:
    expected = by_loop(rows, labels, rows, labels, np.arange(len(rows)))
    assert summarise(rank(rows, labels)).values == pytest.approx(expected)
    monkeypatch.setattr(ranking, "TILE_ENTRIES", 7 * len(rows))  # ragged tiles
    assert summarise(rank(rows, labels)).values == pytest.approx(expected)


def test_query_and_gallery_with_some_queries_in_the_gallery_equals_the_loop() -> None:
    _, rows, labels = next(iter(sets()))
    itself = np.array([-1] * 10 + list(range(10)))
    queries, query_labels = torch.cat([rows[:10], rows[10:20]]), np.concatenate([labels[:10], labels[10:20]])
    gallery, gallery_labels = rows[10:], labels[10:]
    expected = by_loop(queries, query_labels, gallery, gallery_labels, itself)
    found = rank(queries, query_labels, gallery, gallery_labels, itself=itself)
    assert summarise(found).values == pytest.approx(expected)


def test_a_copy_of_the_query_is_found_though_the_query_itself_is_not() -> None:
    rows = torch.tensor([[1.0, 0], [1.0, 0], [0, 1.0]])
    summary = summarise(rank(rows, np.array([0, 0, 1])))
    assert summary.values["recall_at_1"] == 1
    assert (summary.queries, summary.queries_without_partner, summary.gallery) == (2, 1, 2)


def test_hand_derived_numbers() -> None:
    # Query 0 (class 0, two partners: 1 and 3) sees 2 (wrong), 1 (right), 3 (right) in this order.
    angles = torch.tensor([0.0, 0.2, 0.1, 0.3])
    rows = torch.stack([angles.cos(), angles.sin()], 1)
    found = rank(rows[:1], np.array([0]), rows, np.array([0, 0, 1, 0]), itself=np.array([0]))
    values = summarise(found).values
    assert found.ranks.tolist() == [2, 3]
    assert values["recall_at_1"] == 0
    assert values["recall_at_5"] == 1
    assert values["r_precision"] == pytest.approx(1 / 2)
    assert values["map_at_r"] == pytest.approx((1 / 2) / 2)
    assert values["mean_average_precision"] == pytest.approx((1 / 2 + 2 / 3) / 2)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0.0])
def test_embeddings_that_cannot_be_ranked_are_named(bad: float) -> None:
    rows = torch.ones(4, 3)
    rows[2] = bad
    with pytest.raises(DataError, match="1 of 4 query embeddings are NaN, infinite or zero, first: row 2"):
        rank(rows, np.array([0, 0, 1, 1]))


def test_no_partner_at_all_is_an_error() -> None:
    with pytest.raises(DataError, match="none of 3 queries has a partner"):
        summarise(rank(torch.eye(3), np.arange(3)))
