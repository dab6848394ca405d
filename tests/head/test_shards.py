"""Classes spread over processes give what one process gives, for every margin."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from eml.head.class_head import ClassHead
from eml.head.shards import Shard
from eml.head.text_terms import TextTerm
from eml.margins.cosface import CosFace
from tests.distributed.process_group import preloaded_context
from tests.head.heads import CLASSES, SETTINGS, SIZE
from tests.head.sharded import (
    EACH_SHARD,
    LABELS,
    TEXT_CASES,
    Case,
    cases,
    embedded,
    few_cases,
    golden,
    needed,
    of_each_shard,
    process,
    steps,
    steps_of,
    with_text_term,
    with_texts,
)

Found = dict[Case, dict[str, Tensor]]


@pytest.mark.xdist_group("processes")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("world", "most"),  # steps
    [(2, 3), pytest.param(2, 10, marks=pytest.mark.wide), pytest.param(4, 10, marks=pytest.mark.wide)],
)
def test_processes_that_share_the_classes_train_as_one(world: int, most: int, tmp_path: Path) -> None:
    these = [case for case in cases() if world == 2 or steps_of(case) == 10] if most == 10 else few_cases()
    alone: Found = {case: steps(case, Shard.whole(CLASSES), most) for case in these}
    method = preloaded_context().get_start_method()
    torch.multiprocessing.start_processes(process, (world, tmp_path, these, most), nprocs=world, start_method=method)
    parts: list[Found] = [torch.load(tmp_path / f"{rank}.pt") for rank in range(world)]
    wrong = []
    for case in these:
        expected = alone[case]
        for rank, found in enumerate(part[case] for part in parts):
            assert found.keys() == expected.keys()
            for key, value in expected.items():
                error = (found[key].double() - value.double()).abs().max() / value.double().abs().max().clamp_min(1)
                if not error <= 1e-10:
                    wrong.append(f"{case}, process {rank}: {key} differs by {error:.1e}")
                    break
    for part in parts[: 2 if world == 2 else 0]:
        assert part["needed", 0, False] == {name: size / 2 for name, size in needed(Shard.whole(10)).items()}
        given = golden()
        given["grad_x"] = given["grad_x"] / 2
        for key, value in part["golden", 0, False].items():
            if key in given:
                torch.testing.assert_close(
                    value, given[key].mean() if "loss" in key else given[key], rtol=0, atol=1e-10
                )
    for name, texts in TEXT_CASES.items():
        for part in parts:
            for key, value in with_texts(Shard.whole(CLASSES), *texts).items():
                torch.testing.assert_close(part[name, 0, False][key], value, rtol=1e-10, atol=1e-12)
    check_samples_of_each_shard(world, parts)
    for name in TextTerm.members():
        expected = with_text_term(name, Shard.whole(CLASSES))
        for part in parts:
            torch.testing.assert_close(part[name, -2, False], expected, rtol=0, atol=1e-10)
    assert not wrong, f"{len(wrong)} of {len(these) * world}: " + "; ".join(wrong[:8])


def check_samples_of_each_shard(world: int, parts: list[Found]) -> None:
    """Each process has its ⌈C/2⌉ or its labels, and the step is one process's with these classes."""
    bounds = [rank * CLASSES // world for rank in range(world + 1)]
    drawn = {tuple(part["drawn", 0, False]["places"].tolist()) for part in parts}
    assert len(drawn) == world, "processes sample alike"
    for name, corrected in [*((name, False) for name in EACH_SHARD), ("cosface", True)]:
        founds = [part[name, -1, corrected] for part in parts]
        for rank, found in enumerate(founds):
            own, here = found["own"].tolist(), range(bounds[rank], bounds[rank + 1])
            assert len(own) == max(-(-len(here) // 2), len(set(LABELS.tolist()) & set(here)))
            assert set(own) <= set(here)
            assert set(LABELS.tolist()) & set(here) <= set(own)
        ids = torch.cat([found["own"] for found in founds])
        whole = Shard.whole(CLASSES)
        expected = of_each_shard(name, whole, correction=False, classes=ids)
        if corrected:
            expected = by_hand(ids.tolist(), bounds)
        for found in founds:
            for key in ("losses", "gradient", "by_weights"):
                torch.testing.assert_close(found[key], expected[key], rtol=0, atol=1e-10, msg=f"{name}: {key}")


def by_hand(ids: list[int], bounds: list[int]) -> dict[str, Tensor]:
    """CosFace with smoothing 0.1 over sampled classes, class by class, each over its probability of being there."""
    margin = SETTINGS["cosface"][0].model_dump()["m"]
    torch.manual_seed(0)
    start = ClassHead(CosFace(), CLASSES, SIZE, dtype=torch.float64).class_weights
    weights, x = start.detach().clone().requires_grad_(), embedded().requires_grad_()
    losses = []
    for sample, label in zip(x, LABELS.tolist(), strict=True):
        total, mean, target, stands_for = torch.zeros(()), torch.zeros(()), torch.zeros(()), 0.0
        for j in ids:
            part = max(place for place, bound in enumerate(bounds[:-1]) if bound <= j)
            here = set(range(bounds[part], bounds[part + 1]))
            labels, sampled = here & set(LABELS.tolist()), here & set(ids)
            chance = 1.0 if j in labels else (len(sampled) - len(labels)) / (len(here) - len(labels))
            cosine = (sample * weights[j]).sum() / sample.norm() / weights[j].norm()
            logit = 8 * (cosine - (margin if j == label else 0.0))
            total, mean, stands_for = total + logit.exp() / chance, mean + logit / chance, stands_for + 1 / chance
            target = logit if j == label else target
        losses.append(total.log() - 0.9 * target - 0.1 * mean / stands_for)
    torch.stack(losses).mean().backward()
    assert x.grad is not None
    assert weights.grad is not None
    return {"losses": torch.stack(losses).detach(), "gradient": x.grad, "by_weights": weights.grad}
