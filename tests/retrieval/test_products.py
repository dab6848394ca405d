"""Retrieval's numbers are the same whatever autocast and the precision of float32 products are set to."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import Tensor

from eml.retrieval.arrays import Integers
from eml.retrieval.label_errors.label_errors import toward_other_centres
from eml.retrieval.products import FEW, few_products, full_precision, product
from eml.retrieval.ranking import rank
from eml.retrieval.search import nearest
from eml.retrieval.similarity import unit_length
from eml.retrieval.verification import OpenSet, all_pairs, measure_acceptance
from eml.retrieval.verification.pair_counts import count_pairs_at


@contextmanager
def rounding_of(kind: str, device: str) -> Iterator[None]:
    """Round products to bfloat16, by autocast or by the setting of float32 products, TF32 on a GPU."""
    before = torch.get_float32_matmul_precision()
    try:
        if kind == "setting":
            torch.set_float32_matmul_precision("medium")
            yield
        else:
            with torch.autocast(device, dtype=torch.bfloat16):
                yield
    finally:
        torch.set_float32_matmul_precision(before)


def figures(rows: Tensor, labels: Integers) -> dict[str, object]:
    """Figures of every product that retrieval computes."""
    ranking = list(rank(rows, labels))
    data = OpenSet.leave_one_out(rows, labels)
    pairs = all_pairs(rows, labels)
    return {
        "ranks": np.concatenate([part.ranks for part in ranking]).tolist(),
        "nearest": nearest(rows, rows, 5, engine="exact").similarities.tolist(),
        "nearest bfloat16": nearest(rows, rows, 5, engine="bfloat16").indices.tolist(),
        "thresholds": pairs.threshold.tolist(),
        "pairs": count_pairs_at(rows, labels, 0.1),
        "acceptance": measure_acceptance(data, 0.2),
        "classes": data.search().nearest_classes.similarity.tolist(),
    }


def sets(device: str) -> tuple[Tensor, Integers]:
    rows = torch.randn(300, 64, generator=torch.Generator().manual_seed(0)).to(device)
    return unit_length(rows), np.arange(300) % 20


DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=[pytest.mark.wide, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]
    ),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["autocast", "setting"])
def test_figures_do_not_depend_on_the_callers_precision(kind: str, device: str) -> None:
    rows, labels = sets(device)
    expected = figures(rows, labels)
    with rounding_of(kind, device):
        assert figures(rows, labels) == expected
        settings = torch.get_float32_matmul_precision(), torch.is_autocast_enabled(device)
    assert settings == (("medium", False) if kind == "setting" else ("highest", True))


@pytest.mark.wide
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_embeddings_on_a_gpu_and_on_the_cpu_give_the_same_figures_alone_and_mixed() -> None:
    rows, labels = sets("cpu")
    on_gpu = rows.cuda()
    expected, found = figures(rows, labels), figures(on_gpu, labels)
    for key in ("ranks", "nearest bfloat16", "pairs"):
        assert found[key] == expected[key], key
    for queries, gallery in ((on_gpu, rows), (rows, on_gpu)):
        parts = list(rank(queries, labels, gallery, labels, itself=np.arange(300)))
        assert sum(len(part.queries) for part in parts) == 300
        found_nearest = nearest(queries, gallery, 5)
        assert np.array_equal(found_nearest.indices, nearest(rows, rows, 5).indices)
    spaces = np.zeros(300, np.int64)
    on_cpu = toward_other_centres(rows, labels, spaces)
    np.testing.assert_allclose(toward_other_centres(on_gpu, labels, spaces), on_cpu, atol=1e-9)


def test_settings_of_products_are_put_back_when_one_fails() -> None:
    with rounding_of("setting", "cpu"):
        with pytest.raises(RuntimeError), full_precision("cpu"):
            product(torch.eye(2), torch.ones(3, 3))
        assert torch.get_float32_matmul_precision() == "medium"


@pytest.mark.parametrize(("count", "threads"), [(0, 1), (1, 1), (1, 2), (2, 1), (FEW, 1), (FEW + 1, 1)])
def test_products_of_few_rows_are_those_of_many_in_the_same_order(
    count: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    random = torch.Generator().manual_seed(0)
    left, right = torch.randn(count, 20, generator=random), torch.randn(300, 20, generator=random)
    values = few_products(left, right)
    assert values.shape == (count, 300)
    assert values.is_contiguous()
    torch.testing.assert_close(values.double(), left.double() @ right.double().T, rtol=0, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(few_products(left, right), values)
