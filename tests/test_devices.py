"""Heads, steps and retrieval on a pretend CUDA device: no tensors of two devices, the CPU's numbers, and few waits."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from eml.dataset.table import Table
from eml.devices import to_device
from eml.head.class_head import ClassHead
from eml.inference.model import Model
from eml.losses import Loss
from eml.retrieval.ranking import rank
from eml.retrieval.reranking.rankers import rank_expanded, rank_reciprocal
from eml.retrieval.search import nearest
from eml.retrieval.verification.open_set import OpenSet, find_answers, find_nearest_classes
from eml.retrieval.verification.pair_counts import all_pairs, count_pairs_at
from eml.training.build import RunParts, build_gradient_cache, build_parts
from eml.training.config import RunConfig
from eml.training.cuda import CudaConfig
from eml.training.dry_run import _class_head_cost
from eml.training.fit import Run
from eml.training.nan_check import NotFiniteError, StepSnapshot
from eml.training.optimizer import build_optimizer
from eml.training.start_decay import StartDecay
from tests.head.heads import LABELS, LABELS_B, SETTINGS, embeddings, head_of
from tests.pretend_cuda import CUDA, PretendCuda, on_host
from tests.training.conftest import config, table
from tests.training.runs import changed

__all__ = ["config", "table"]  # fixtures

MODES: dict[str, dict[str, object]] = {
    "dense": {"type": "dense"},
    "tiled": {"type": "tiled", "tile": 4, "memory": 4 * 6 * 8 / 2**20},  # the first tile is kept
    "sampled": {"type": "sampled", "fraction": 0.9},
}
OTHER_SAMPLES = [
    {"type": "sampled", "fraction": 0.9, "correction": True, "optimizer": {"type": "sgd"}},
    {"type": "sampled", "fraction": 0.9, "unsampled": "decayed"},
]
FIRST_STEP = "item at head/buffers.py"
"""The seeds of a margin's draws and of mode `sampled` are read from the device once."""
VARIANTS = [pytest.param(name, marks=pytest.mark.wide) if "-" in name else name for name in SETTINGS]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", VARIANTS)
def test_every_margin_gives_the_same_on_the_device_and_waits_for_nothing(name: str, mode: str) -> None:
    _check_head(name, MODES[mode])


@pytest.mark.parametrize("mode", OTHER_SAMPLES, ids=["corrected", "decayed"])
def test_every_kind_of_sample_gives_the_same_on_the_device_and_waits_for_nothing(mode: dict[str, object]) -> None:
    _check_head("cosface", mode)


def _check_head(name: str, mode: dict[str, object]) -> None:
    margin, config, loss = SETTINGS[name]
    batch = embeddings(torch.float32, 1).detach()
    expected = _head_step(head_of(margin, config, mode, torch.float32), loss, batch, LABELS)
    with PretendCuda() as device:
        head, batch = head_of(margin, config, mode, torch.float32).to(CUDA), batch.to(CUDA)
        with device.counted() as waits:
            found = on_host(_head_step(head, loss, batch, LABELS))
    assert {key for key, value in expected.items() if not torch.equal(found[key], value)} == set()
    assert [wait for wait in waits if not wait.startswith(FIRST_STEP)] == []
    assert device.pageable == []


def test_a_copy_to_the_device_waits_for_nothing_whatever_its_memory() -> None:
    images = torch.arange(24, dtype=torch.uint8).view(1, 2, 4, 3).permute(0, 3, 1, 2)
    with PretendCuda() as device:
        for tensor in (images, torch.ones(1).expand(3), images.pin_memory(), images[:, :, ::2]):
            copy = to_device(tensor, CUDA)
            assert torch.equal(on_host(copy), tensor)
        assert to_device(images, CUDA).stride() == images.stride()
        assert (device.waits, device.pageable) == ([], [])


def test_seeds_on_the_device_are_read_again_only_after_a_state_is_loaded() -> None:
    margin, config, loss = SETTINGS["elastic_arcface"]
    with PretendCuda() as device:
        head = head_of(margin, config, MODES["sampled"], torch.float32).to(CUDA)
        batch = embeddings(torch.float32, 1).detach().to(CUDA)
        _head_step(head, loss, batch, LABELS)
        state = {key: value.clone() for key, value in head.state_dict().items()}
        with device.counted() as waits:
            expected = on_host(_head_step(head, loss, batch, LABELS))
        assert waits == []
        head.zero_grad()
        head.load_state_dict(state)
        found = on_host(_head_step(head, loss, batch, LABELS))
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_labels_on_the_device_give_the_same_as_those_on_the_cpu() -> None:
    margin, config, loss = SETTINGS["proxy_anchor"]
    batch = embeddings(torch.float32, 1).detach()
    expected = _head_step(head_of(margin, config, MODES["sampled"], torch.float32), loss, batch, LABELS)
    with PretendCuda():
        head = head_of(margin, config, MODES["sampled"], torch.float32).to(CUDA)
        found = on_host(_head_step(head, loss, batch.to(CUDA), LABELS.to(CUDA)))
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def _head_step(head: ClassHead, loss: Loss, batch: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Take a step of the head, and return its loss, gradients and state."""
    batch = batch.clone().requires_grad_()
    value = loss(head(batch, labels)).mean()
    value.backward()
    assert batch.grad is not None
    found = {"loss": value.detach(), "embeddings": batch.grad}
    found |= {f"gradient of {key}": each.grad for key, each in head.named_parameters() if each.grad is not None}
    head.step(0.1)
    return found | {key: each.clone() for key, each in head.state_dict().items()}


def test_mixed_labels_give_the_same_on_the_device_and_wait_for_nothing() -> None:
    margin, config, loss = SETTINGS["curricularface"]
    batch, share = embeddings(torch.float32, 1).detach(), torch.linspace(0, 1, len(LABELS))
    head = head_of(margin, config, MODES["tiled"], torch.float32)
    expected = loss.mixed(*head.mixed(batch, LABELS, LABELS_B, share), share)
    with PretendCuda() as device:
        head, batch = head_of(margin, config, MODES["tiled"], torch.float32).to(CUDA), batch.to(CUDA)
        with device.counted() as waits:
            terms = head.mixed(batch, LABELS, LABELS_B, share)
        found = loss.mixed(*terms, share.to(CUDA))
    assert waits == []
    assert torch.equal(on_host(found), expected)


RUNS: dict[str, dict[str, object]] = {
    "mixed, in parts": {"mix": {"type": "mixup", "alpha": 8}, "ema": {"decay": 0.9}, "accumulate": 2},
    "sampled, clipped": {
        "head": {"scale": 16, "mode": {"type": "sampled", "fraction": 0.5}},
        "optimizer": {"name": "sgd", "clip": 0.1, "start_decay": 0.1},
    },
    "boxes": {"mix": {"type": "cutmix", "share": "image"}},
    "plain": {},
}
RUN_NAMES = [pytest.param(name, marks=pytest.mark.wide) if name in ("boxes", "plain") else name for name in RUNS]


@pytest.mark.parametrize("name", RUN_NAMES)
def test_a_step_gives_the_same_on_the_device_and_waits_for_it_once(name: str, config: RunConfig, table: Table) -> None:
    config = changed(config, **RUNS[name])
    run = Run(build_parts(config, table))
    batches = run.batches.of_epoch(1, 0)
    expected = [run.step(*next(batches)) for _ in range(2)]
    parts = build_parts(config, table)
    with PretendCuda() as device:
        run = Run(_on_device(parts))
        batches = run.batches.of_epoch(1, 0)
        found = [run.step(*next(batches))]  # which also reads the seeds
        with device.counted() as waits:
            found.append(run.step(*next(batches)))
    assert found == expected
    assert [wait.split(":")[0] for wait in waits] == ["tolist at training/fit.py"]
    assert device.pageable == []


def _on_device(parts: RunParts) -> RunParts:
    """Return the parts of a run on the pretend device, as they would be built there."""
    networks = parts.networks
    networks = replace(
        networks,
        embedder=networks.embedder.to(CUDA),
        head=networks.head.to(CUDA),
        ema=None if networks.ema is None else networks.ema.to(CUDA),
    )
    optimizer = build_optimizer(parts.config.optimizer, networks.embedder, networks.head)
    return replace(
        parts,
        device=CUDA,
        networks=networks,
        optimizer=optimizer,
        start_decay=StartDecay(optimizer, parts.config.optimizer.start_decay),
        gradient_cache=build_gradient_cache(parts.config, networks.embedder, CUDA, parts.processes),
        snapshot=StepSnapshot(networks.embedder, networks.head, CUDA),
        model=Model(networks.evaluated, networks.preprocess, CUDA),
    )


def test_a_step_on_the_device_that_is_not_finite_is_undone_and_named(config: RunConfig, table: Table) -> None:
    parts = build_parts(config, table)
    with PretendCuda():
        run = Run(_on_device(parts))
        run.step(*next(run.batches.of_epoch(1, 0)))
        before = {key: value.clone() for key, value in run.parts.embedder.state_dict().items()}
        with torch.no_grad():
            run.parts.head.class_weights[0] = torch.nan
        pixels, rows = next(run.batches.of_epoch(1, 1))
        with pytest.raises(NotFiniteError, match=r"step 2: the loss is nan; weights of the class head") as caught:
            run.step(pixels, rows)
        assert all(torch.equal(value, before[key]) for key, value in run.parts.embedder.state_dict().items())
    names = parts.data.frame["file_name"].iloc[rows.numpy()]
    assert caught.value.diagnosis[1] == f"its images: {', '.join(names)}"


def test_a_dry_run_times_the_head_until_the_device_has_done_its_work(config: RunConfig, table: Table) -> None:
    parts = build_parts(config, table)
    with PretendCuda() as device:
        parts = _on_device(parts)
        with device.counted() as waits:
            assert _class_head_cost(parts, 4, 4).seconds_per_step > 0
    assert [wait.split(":")[0] for wait in waits] == ["synchronize at devices.py"] * 2


def test_the_accuracy_of_a_step_allows_for_rounded_products() -> None:
    margin, config, _ = SETTINGS["normface"]
    head = head_of(margin, config, MODES["dense"], torch.float32)
    assert head._factor_rounding(CUDA) == 0
    with CudaConfig().in_effect(CUDA):
        assert head._factor_rounding(CUDA) == pytest.approx(2**-9, rel=1e-3)
        assert head._factor_rounding(torch.device("cpu")) == 0


RANDOM = np.random.default_rng(0)
IMAGES, OF_IMAGES = RANDOM.standard_normal((40, 6), np.float32), RANDOM.integers(0, 8, 40)
ROWS = np.arange(len(IMAGES))
OPEN_SET = OpenSet(torch.from_numpy(IMAGES), OF_IMAGES, ROWS, ROWS)
RETRIEVALS: dict[str, Callable[[Tensor], object]] = {
    "rank": lambda images: _all(rank(images, OF_IMAGES)),
    "rank in groups": lambda images: _all(rank(images, OF_IMAGES, query_groups=OF_IMAGES % 3)),
    "rank expanded": lambda images: _all(rank_expanded(images, OF_IMAGES, images, OF_IMAGES, itself=ROWS, expand=2)),
    "rank augmented": lambda images: _all(rank_expanded(images, OF_IMAGES, images, OF_IMAGES, itself=ROWS, augment=2)),
    "rank both": lambda images: _all(
        rank_expanded(images, OF_IMAGES, images, OF_IMAGES, itself=ROWS, augment=2, expand=2)
    ),
    "rank reciprocal": lambda images: _all(rank_reciprocal(images, OF_IMAGES, images, OF_IMAGES, itself=ROWS, k1=4)),
    "nearest": lambda images: _values(nearest(images, images, 5, itself=ROWS)),
    "nearest exact": lambda images: _values(nearest(images, images, 5, engine="exact")),
    "pairs": lambda images: _values(all_pairs(images, OF_IMAGES)),
    "pairs at": lambda images: _values(count_pairs_at(images, OF_IMAGES, 0.3)),
    "answers": lambda images: _values(find_answers(replace(OPEN_SET, embeddings=images))),
    "nearest classes": lambda images: _values(find_nearest_classes(replace(OPEN_SET, embeddings=images))),
}


def _all(results: Iterable[object]) -> list[list[object]]:
    return [_values(result) for result in results]


def _values(result: object) -> list[object]:
    return [value.tolist() if isinstance(value, np.ndarray) else value for value in vars(result).values()]


@pytest.mark.parametrize("name", RETRIEVALS)
def test_retrieval_gives_the_same_on_the_device(name: str) -> None:
    images = torch.from_numpy(IMAGES)
    expected = RETRIEVALS[name](images)
    with PretendCuda():
        found = RETRIEVALS[name](images.to(CUDA))
    assert found == expected
