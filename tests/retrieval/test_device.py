"""Retrieval computes on the GPU that was chosen, with the results of the CPU, in memory that is bounded by tiles."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import eml
from eml.retrieval import device
from eml.retrieval.arrays import Integers
from eml.retrieval.device import TileSizes, computing_on
from eml.retrieval.label_errors.label_errors import toward_other_centres
from eml.retrieval.ranking import Ranking, rank
from eml.retrieval.search import nearest
from eml.retrieval.similarity import UnitRows, unit_length
from eml.retrieval.verification import OpenSet, all_pairs, measure_acceptance, pair_counts
from eml.retrieval.verification.different_pairs import DifferentPairs
from eml.retrieval.verification.pair_counts import count_pairs_at
from tests.pretend_cuda import CUDA, PretendCuda

IMAGES = 200
WHOLE, IN_PARTS, TOO_LITTLE = 1 << 40, 100_000, 10
"""Bytes that a pretend GPU has free: for everything, for less than four times the embeddings, for nothing."""


def drawn_set() -> tuple[Tensor, Integers]:
    """Draw embeddings, some of which are copies, and their classes of very different sizes."""
    random = torch.Generator().manual_seed(0)
    rows = unit_length(torch.randn(IMAGES, 48, generator=random))
    rows[40:44], rows[100], rows[170] = rows[40], rows[5], rows[5]  # in one tile, and in three
    labels = 2 * ((np.arange(IMAGES) ** 2 // 400) % 23)
    return rows, labels


def by_query(rankings: list[Ranking]) -> list[list[float]]:
    """What each query found, whatever batches they were ranked in."""
    queries = np.concatenate([part.queries for part in rankings])
    of_rank = np.concatenate([part.queries[part.query_of_rank] for part in rankings])
    ranks = np.concatenate([part.ranks for part in rankings])[np.argsort(of_rank, kind="stable")]
    names = ("positives", "nearest", "nearest_similarity", "nearest_is_positive")
    values = [np.concatenate([getattr(part, name) for part in rankings]) for name in names]
    return [ranks.tolist(), *(value[np.argsort(queries)].tolist() for value in values)]


def figures(rows: Tensor, labels: Integers) -> dict[str, object]:
    """Everything that evaluate, suspects, the report and calibrate compute with a chosen device."""
    data, first, groups = OpenSet.leave_one_out(rows, labels), np.arange(90), np.arange(IMAGES) % 3
    asked = labels[:90] + (first % 4 == 0)  # some are of no class of the gallery, and their own images of another
    own = {"itself": np.where(first % 5, first, -1), "query_groups": groups[:90], "gallery_groups": groups}
    neighbours, pairs = nearest(rows, rows, 5, itself=np.arange(IMAGES)), all_pairs(rows, labels)
    different = DifferentPairs.above(rows, labels, 0.1, 1000)
    return {
        "leave-one-out": by_query(list(rank(rows, labels))),
        "groups": by_query(list(rank(rows[:90], asked, rows, labels, **own))),
        "nearest": (neighbours.indices.tolist(), neighbours.similarities.tolist()),
        "pairs": (pairs.threshold.tolist(), pairs.same.tolist(), pairs.different.tolist()),
        "pairs at": asdict(count_pairs_at(rows, labels, 0.1)),
        "different pairs": (different.first.tolist(), different.second.tolist()),
        "acceptance": measure_acceptance(data, 0.2),
        "classes": data.search().nearest_classes.similarity.tolist(),
        "centres": toward_other_centres(rows, labels, np.zeros(IMAGES, np.int64)).tolist(),
    }


@pytest.mark.parametrize(("free", "exact_pairs"), [(WHOLE, 0), (WHOLE, 10**9), (IN_PARTS, 10**9)])
def test_a_chosen_device_gives_the_figures_of_the_cpu(
    free: int, exact_pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair_counts, "EXACT_PAIRS", exact_pairs)
    rows, labels = drawn_set()
    expected = figures(rows, labels)
    monkeypatch.setattr(device, "LEAST", 1000)
    monkeypatch.setattr(device, "GPU", TileSizes(queries=70, columns=64, pairs=3000))
    monkeypatch.setattr(device, "free_memory", lambda gpu: free)
    with PretendCuda() as pretend, computing_on(CUDA):
        found = figures(rows, labels)
    for key, value in expected.items():
        np.testing.assert_equal(found[key], value, err_msg=key)
    assert pretend.waits, "the device computed"


def placed(embeddings: Tensor, free: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The devices of the embeddings that a ranking reads from, and of what it computes with."""
    found: list[str] = []
    original: Callable[..., None] = UnitRows.__init__

    def note(self: UnitRows, *args: object, **kwargs: object) -> None:
        original(self, *args, **kwargs)
        found.extend([self.embeddings.device.type, self.device.type])

    with PretendCuda(), computing_on(CUDA):
        monkeypatch.setattr(device, "free_memory", lambda gpu: free)
        monkeypatch.setattr(device, "LEAST", 1000)
        monkeypatch.setattr(UnitRows, "__init__", note)
        list(rank(embeddings, np.arange(len(embeddings)) % 5))
    return found


@pytest.mark.parametrize(
    ("free", "places"), [(WHOLE, ["cuda"] * 4), (IN_PARTS, ["cpu", "cuda"] * 2), (TOO_LITTLE, ["cpu"] * 4)]
)
def test_embeddings_stay_on_a_device_where_there_is_room_and_else_go_there_in_parts(
    free: int, places: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert placed(drawn_set()[0], free, monkeypatch) == places


def test_a_ranking_on_a_device_asks_nothing_of_it_for_a_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, labels = drawn_set()
    waits = []
    for columns in (64, 256):  # four tiles, then one
        monkeypatch.setattr(device, "GPU", TileSizes(queries=IMAGES, columns=columns, pairs=3000))
        with PretendCuda() as pretend, computing_on(CUDA):
            list(rank(rows, labels))
        waits.append([place for place in pretend.waits if "positive_counts" not in place])
    assert len(waits[0]) <= len(waits[1]) + 6  # the class's own images are read tile by tile


def test_a_device_that_is_no_gpu_is_not_chosen() -> None:
    rows, _ = drawn_set()
    with computing_on(torch.device("cpu")):
        assert device.device_of(rows).type == "cpu"
    with computing_on(torch.device("mps")):
        assert device.device_of(rows).type == "cpu"


def test_evaluate_and_suspects_compute_on_the_device_that_they_are_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, labels = drawn_set()
    names = np.array([f"{row}.jpg" for row in range(IMAGES)])
    Image.new("RGB", (8, 8)).save(tmp_path / names[0])
    for name in names[1:]:
        (tmp_path / name).hardlink_to(tmp_path / names[0])
    path = tmp_path / "embeddings.npz"
    np.savez(path, embeddings=rows.numpy(), label=labels.astype(str), file_name=names)
    own = {"one_network": True, "top": 0}
    expected = eml.evaluate(path, out=tmp_path / "cpu", report=False, device="cpu").results[0].metrics
    listed = eml.suspects(path, out=tmp_path / "cpu", device="cpu", **own).counts
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for command in (
        lambda: eml.evaluate(path, out=tmp_path / "cuda", report=False, device="cuda").results[0].metrics == expected,
        lambda: eml.suspects(path, out=tmp_path / "cuda", device="cuda", **own).counts == listed,
    ):
        with PretendCuda() as pretend:
            assert command()
        assert any("retrieval/" in place for place in pretend.waits)
