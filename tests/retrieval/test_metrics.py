"""Every metric equals a plain loop over a full sort, on random and on adversarial embeddings."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from eml.errors import DataError
from eml.retrieval import counting, positive_counts, ranking
from eml.retrieval import similarity as similarity_module
from eml.retrieval.metrics import all_metrics, metric_key, summarise
from eml.retrieval.ranking import rank
from eml.retrieval.search import nearest


def by_loop(queries, query_labels, gallery, gallery_labels, itself, query_groups=None, gallery_groups=None):
    """Definitions, literally: for each query sort the gallery by (−cosine, index), walk down the list."""
    sums: dict[str, list[float]] = {}
    answers = []
    for i, (q, label, own) in enumerate(zip(queries, query_labels, itself, strict=True)):
        scores = []
        for j, g in enumerate(gallery):
            same = gallery_labels[j] == label
            alike = query_groups is not None and query_groups[i] >= 0 and query_groups[i] == gallery_groups[j]
            if j != own and not (same and alike):
                scores.append((-float(q @ g), j))
        hits = [gallery_labels[j] == label for _, j in sorted(scores)]
        positives = sum(hits)
        answers.append((min(scores)[0], hits[0], positives > 0))
        if not positives:
            continue
        precision = [sum(hits[: i + 1]) / (i + 1) if hit else 0.0 for i, hit in enumerate(hits)]
        for k in (1, 5, 10):
            sums.setdefault(f"recall_at_{k}", []).append(float(any(hits[:k])))
        sums.setdefault("map_at_r", []).append(sum(precision[:positives]) / positives)
        sums.setdefault("r_precision", []).append(sum(hits[:positives]) / positives)
        sums.setdefault("mean_average_precision", []).append(sum(precision) / positives)
        sums.setdefault("mean_reciprocal_rank", []).append(1 / (hits.index(True) + 1))
    gap = 0.0
    for score, right, _ in answers:
        if right:
            above = [one for one in answers if one[0] <= score]  # scores are negated
            gap += sum(one[1] for one in above) / len(above)
    gap /= sum(wanted for *_, wanted in answers)
    return {name: float(np.mean(values)) for name, values in sums.items()} | {"global_average_precision": gap}


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
    names, never, always = ("TILE", "BLOCK", "OWN_ENTRIES", "PASSES", "RARE", "LISTED"), 1 << 30, 1e-3
    for sizes in (
        (7, 16, 1 << 22, 20, never, 8),
        (1000, 8, 1 << 22, 0, never, 0),
        (64, 8, 9, 1, never, 0),
        (9, 1024, 99, 0, always, 8),
        (7, 16, 1 << 22, 0, always, 0),
        (9, 8, 99, 2, 4, 8),
    ):
        for name, value in zip(("KERNEL", *names), (8, *sizes), strict=True):
            for module in (ranking, positive_counts, counting, similarity_module):
                if hasattr(module, name):
                    monkeypatch.setattr(module, name, value)
        assert summarise(rank(rows, labels)).values == pytest.approx(expected), sizes
        assert summarise(rank(3 * rows, labels)).values == pytest.approx(expected), "of any length"


def test_several_threads_count_the_same(monkeypatch) -> None:
    _, rows, labels = next(iter(sets()))
    expected = [part.ranks.tolist() for part in rank(rows, labels)]
    monkeypatch.setattr(positive_counts, "ROWS", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert [part.ranks.tolist() for part in rank(rows, labels)] == expected
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("block", [1024, 64])
def test_positives_of_the_querys_own_group_are_left_out(block, monkeypatch) -> None:
    monkeypatch.setattr(ranking, "BLOCK", block)
    monkeypatch.setattr(similarity_module, "BLOCK", block)
    _, rows, labels = next(iter(sets()))
    cameras = np.random.default_rng(1).integers(-1, 3, len(rows))
    expected = by_loop(rows, labels, rows, labels, np.arange(len(rows)), cameras, cameras)
    assert expected != by_loop(rows, labels, rows, labels, np.arange(len(rows)))
    assert summarise(rank(rows, labels, query_groups=cameras)).values == pytest.approx(expected)


@pytest.mark.parametrize("rare, listed", [(1 << 30, 0), (1e-3, 1000)])
def test_copies_in_other_classes_and_blocks_are_ranked_by_index_in_float32(rare, listed, monkeypatch) -> None:
    monkeypatch.setattr(positive_counts, "RARE", rare)
    monkeypatch.setattr(positive_counts, "LISTED", listed)
    monkeypatch.setattr(ranking, "BLOCK", 64)
    monkeypatch.setattr(similarity_module, "BLOCK", 64)
    random = torch.Generator().manual_seed(3)
    rows = unit(torch.randn(20, 64, generator=random)).repeat(5, 1)  # each five times, 20 apart
    labels = np.random.default_rng(3).integers(0, 8, 100)
    similarity = (rows.double() @ rows.double().T).numpy()
    np.fill_diagonal(similarity, -np.inf)
    order = np.lexsort((np.broadcast_to(np.arange(100), (100, 100)), -similarity.round(6)), axis=1)[:, :-1]
    for found in rank(rows, labels):
        begin = 0
        for query, positives in zip(found.queries, found.positives, strict=True):
            expected = np.flatnonzero(labels[order[query]] == labels[query]) + 1
            assert found.ranks[begin : begin + positives].tolist() == expected.tolist()
            begin += positives
        assert found.nearest.tolist() == order[found.queries, 0].tolist()


def test_query_and_gallery_with_some_queries_in_the_gallery_equals_the_loop() -> None:
    _, rows, labels = next(iter(sets()))
    itself = np.array([-1] * 10 + list(range(10)))
    queries, query_labels = torch.cat([rows[:10], rows[10:20]]), np.concatenate([labels[:10], labels[10:20]])
    gallery, gallery_labels = rows[10:], labels[10:]
    expected = by_loop(queries, query_labels, gallery, gallery_labels, itself)
    found = rank(queries, query_labels, gallery, gallery_labels, itself=itself)
    assert summarise(found).values == pytest.approx(expected)


def test_a_class_that_the_gallery_lacks_changes_nothing_for_the_class_after_it() -> None:
    rows = unit(torch.randn(23, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64))
    query_labels, gallery_labels = np.array([0, 1, 1, 1, 3, 3, 3]), np.repeat([1, 3], 8)
    values = summarise(rank(rows[:7], query_labels, rows[7:], gallery_labels, itself=np.full(7, -1))).values
    assert values == pytest.approx(by_loop(rows[:7], query_labels, rows[7:], gallery_labels, np.full(7, -1)))


def test_a_copy_of_the_query_is_found_though_the_query_itself_is_not() -> None:
    rows = torch.tensor([[1.0, 0], [1.0, 0], [0, 1.0]])
    summary = summarise(rank(rows, np.array([0, 0, 1])))
    assert summary.values["recall_at_1"] == 1
    assert (summary.queries, summary.queries_without_positive, summary.gallery) == (2, 1, 2)


def test_hand_derived_numbers() -> None:
    # Query 0 (class 0, two positives: 1 and 3) sees 2 (wrong), 1 (right), 3 (right) in this order.
    angles = torch.tensor([0.0, 0.2, 0.1, 0.3])
    rows = torch.stack([angles.cos(), angles.sin()], 1)
    [found] = rank(rows[:1], np.array([0]), rows, np.array([0, 0, 1, 0]), itself=np.array([0]))
    values = summarise([found]).values
    assert found.ranks.tolist() == [2, 3]
    assert values["recall_at_1"] == 0
    assert values["recall_at_5"] == 1
    assert values["r_precision"] == pytest.approx(1 / 2)
    assert values["map_at_r"] == pytest.approx((1 / 2) / 2)
    assert values["mean_average_precision"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert values["mean_reciprocal_rank"] == pytest.approx(1 / 2)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0.0])
def test_embeddings_that_cannot_be_ranked_are_named(bad: float) -> None:
    rows = torch.ones(4, 3)
    rows[2] = bad
    with pytest.raises(DataError, match="1 of 4 query embeddings are NaN, infinite or zero, first: row 2"):
        rank(rows, np.array([0, 0, 1, 1]))


def test_no_positive_at_all_is_an_error() -> None:
    with pytest.raises(DataError, match="none of 3 queries has a positive"):
        summarise(rank(torch.eye(3), np.arange(3)))


def test_embeddings_in_half_precision_are_ranked_as_their_values_in_float32() -> None:
    rows = 3 * torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    labels = np.arange(60) % 6
    for precision in (torch.float16, torch.bfloat16):
        half = rows.to(precision)
        one, other = summarise(rank(half, labels)), summarise(rank(half.float(), labels))
        assert one.values == other.values
        assert np.array_equal(one.answers.similarity, other.answers.similarity)


def test_a_gallery_without_images_answers_nothing() -> None:
    rows, labels = unit(torch.randn(4, 3, generator=torch.Generator().manual_seed(0))), np.arange(4)
    (found,) = rank(rows, labels, rows[:0], labels[:0])
    assert found.nearest.tolist() == [-1] * 4
    assert found.positives.tolist() == [0] * 4


def test_labels_and_groups_that_are_not_one_for_each_image_are_told() -> None:
    rows, labels = unit(torch.randn(6, 3, generator=torch.Generator().manual_seed(0))), np.arange(6) // 2
    with pytest.raises(DataError, match="6 query embeddings and 4 labels: one for each is needed"):
        rank(rows, labels[:4])
    with pytest.raises(DataError, match="6 gallery embeddings and 5 labels"):
        rank(rows, labels, rows, labels[:5])
    with pytest.raises(DataError, match="a gallery needs labels"):
        rank(rows, labels, rows)
    with pytest.raises(DataError, match="groups where the queries have them"):
        rank(rows, labels, rows, labels, query_groups=labels)


LARGE_CLASS = """
import resource, numpy as np, torch
from eml.retrieval.metrics import all_metrics, metric_key, summarise
from eml.retrieval.ranking import rank
from eml.retrieval.search import nearest
rows, labels = torch.randn(8000, 16), np.zeros(8000, np.int64)
summarise(rank(rows[:200], np.arange(200) // 2))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
summarise(rank(rows, labels))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.wide
def test_memory_does_not_grow_with_the_ranks_of_a_large_class() -> None:
    done = subprocess.run([sys.executable, "-c", LARGE_CLASS], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 250, "MiB; all ranks are 490"


def test_a_class_of_most_of_the_gallery_is_not_ranked_query_by_query(monkeypatch) -> None:
    monkeypatch.setattr(ranking, "BLOCK", 4)
    rows = unit(torch.randn(60, 8, generator=torch.Generator().manual_seed(0)))
    assert len(list(rank(rows, np.zeros(60, np.int64)))) == 1


def test_a_metric_may_be_named_as_in_tables_or_as_in_metrics_json() -> None:
    for metric in all_metrics():
        for key, shown in metric.shown().items():
            assert metric_key(shown) == metric_key(key) == key
    assert metric_key("unseen/R@5") == "unseen/recall_at_5"
    assert metric_key("recall") == "recall"


def test_labels_may_be_lists_of_numbers_or_text_and_embeddings_arrays() -> None:
    rows = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    codes = np.array([0, 0, 1, 1, 2, 2])

    def ranks(*arguments, **keywords) -> list[list[int]]:
        return [part.ranks.tolist() for part in rank(*arguments, **keywords)]

    expected = ranks(rows, codes)
    for labels in (codes.tolist(), torch.tensor(codes), list("aabbcc"), np.array(list("xxyyzz"), object)):
        assert ranks(rows, labels) == expected
        assert ranks(rows.numpy(), labels) == expected
        assert ranks(rows, labels, rows, labels, itself=list(range(6))) == expected
    names = ["a", "b", "aa", "c", "a", "b"]
    assert ranks(rows[:3], ["a", "aa", "b"], rows, names) == ranks(rows[:3], [0, 1, 2], rows, [0, 2, 1, 3, 0, 2])


@pytest.mark.parametrize(
    "labels, itself, message",
    [
        ([0.0, 1.0, 1.0, float("nan")], None, "query labels must be whole numbers .int64. or text, got float64"),
        ([[0], [0], [1], [1]], None, r"query labels must be \(N,\), got \(4, 1\)"),
        ([0, 0, 1], None, "4 query embeddings and 3 labels: one for each is needed"),
        ([0, 0, 1, 1], [0, 1, 2, 4], "positions of own images must be from −1 to 3, got 0 to 4"),
    ],
)
def test_labels_and_positions_that_do_not_fit_are_named(labels: list, itself: list | None, message: str) -> None:
    rows = torch.eye(4)
    with pytest.raises(DataError, match=message):
        list(rank(rows, labels) if itself is None else rank(rows, labels, rows, labels, itself=itself))
    with pytest.raises(DataError, match=r"of real numbers, got torch\.complex64"):
        list(rank(rows.to(torch.complex64), [0, 0, 1, 1]))
    with pytest.raises(DataError, match="labels of queries and gallery must both be numbers or both be text"):
        list(rank(rows, list("aabb"), rows, [0, 0, 1, 1]))


@pytest.mark.parametrize("spread", [1e-2, 1e-3, 1e-4])
def test_a_network_that_has_nearly_collapsed_is_ranked_by_its_values_and_not_by_rounding(spread: float) -> None:
    """Cosines that differ by less than a bit of float32 decide: the ranks are those of float64."""
    random = np.random.default_rng(0)
    labels = np.arange(400) % 40
    centres, place = random.normal(size=(40, 64)), random.normal(size=(1, 64))
    rows = (place + spread * (centres[labels] / 2 + random.normal(size=(400, 64)))).astype(np.float32)
    unit = rows.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    order = np.argsort(-cosines, axis=1, kind="stable")
    others = order[:, :-1]  # the image itself is last
    expected = {row: 1 + np.flatnonzero(labels[others[row]] == labels[row]) for row in range(400)}
    for part in rank(rows, labels):
        got = np.split(part.ranks, np.cumsum(part.positives)[:-1])
        for row, ranks in zip(part.queries, got, strict=True):
            assert ranks.tolist() == expected[row].tolist()
    found = nearest(torch.from_numpy(rows), rows, 3, itself=np.arange(400))
    assert np.array_equal(found.indices, order[:, :3])
