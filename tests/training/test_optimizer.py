"""Torch's fused Adam: where it is taken, that it is the same Adam, and what becomes of a state made elsewhere."""

import copy
from pathlib import Path

import pytest
import torch

from eml.dataset.table import Table
from eml.training.build import build_parts
from eml.training.config import RunConfig
from eml.training.events import Event
from eml.training.fit import Run
from eml.training.optimizer import load_optimizer, new_optimizer
from tests.training.runs import changed, stop_at


def quiet(event: Event) -> None:
    """Nobody looks."""


def group(*parameters: torch.Tensor) -> list[dict[str, object]]:
    return [{"params": list(parameters), "lr": 0.1, "peak_lr": 0.1, "weight_decay": 0.01}]


def steps(optimizer: torch.optim.Optimizer, seeds: range) -> None:
    (weight,) = optimizer.param_groups[0]["params"]
    for seed in seeds:
        gradient = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
        weight.grad = torch.empty_like(weight).copy_(gradient)  # in the order of memory that autograd gives
        optimizer.step()


def kernel() -> torch.nn.Parameter:
    weight = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(9))
    return torch.nn.Parameter(weight.to(memory_format=torch.channels_last))


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_is_fused_on_a_cpu_and_equals_the_one_that_is_not(name: str) -> None:
    fused, plain = kernel(), kernel()
    steps(new_optimizer(name, group(fused), torch.device("cpu")), range(5))
    other = new_optimizer(name, group(plain), torch.device("mps"))  # of which only the name is looked at
    assert other.param_groups[0]["fused"] is None
    steps(other, range(5))
    torch.testing.assert_close(fused, plain, rtol=1e-5, atol=1e-6)


def test_others_are_as_timm_has_them() -> None:
    for name in ("sgd", "lamb", "nadamw", "lion"):
        optimizer = new_optimizer(name, group(kernel()), torch.device("cpu"))
        assert not optimizer.param_groups[0].get("fused")


@pytest.mark.parametrize("device", ["cpu", "mps"], ids=["fused", "not fused"])
def test_a_state_in_another_order_of_memory_or_of_a_device_without_it_goes_on_the_same(device: str) -> None:
    whole, first, second = kernel(), kernel(), kernel()
    steps(new_optimizer("adamw", group(whole), torch.device("cpu")), range(6))
    before = new_optimizer("adamw", group(first), torch.device(device))
    steps(before, range(3))
    state = copy.deepcopy(before.state_dict())
    for held in state["state"].values():
        for key in ("exp_avg", "exp_avg_sq"):
            held[key] = held[key].contiguous()
    second.data.copy_(first.data)
    after = new_optimizer("adamw", group(second), torch.device("cpu"))
    load_optimizer(after, state)
    assert after.param_groups[0]["fused"] is True
    steps(after, range(3, 6))
    torch.testing.assert_close(second, whole, rtol=0 if device == "cpu" else 1e-5, atol=0 if device == "cpu" else 1e-6)


def test_a_run_resumed_with_other_rates_has_them(config: RunConfig, table: Table, tmp_path: Path) -> None:
    stop_at(config, table, 3)
    given = config.optimizer.model_dump()
    given |= {"weight_decay": 0.5, "lr": given["lr"] | {"backbone": given["lr"]["backbone"] / 2}}
    run = Run(build_parts(changed(config, optimizer=given), table, resume=True))
    run.restore(accept_changes=True)
    backbone = run.parts.optimizer.param_groups[0]
    assert (backbone["peak_lr"], backbone["weight_decay"]) == (given["lr"]["backbone"], 0.5)
    assert backbone["fused"] is True
    assert len(run.parts.optimizer.state) > 10
    run.step(*next(run.batches.of_epoch(1, 3)))


def test_float16_leaves_a_fused_step_out_and_takes_the_next(config: RunConfig, table: Table) -> None:
    run = Run(build_parts(changed(config, precision="float16"), table))
    before = [each.detach().clone() for each in run.parts.embedder.parameters()]
    pixels, rows = next(run.batches.of_epoch(1, 0))
    line = run.step(pixels, rows)  # at the first scale, 65,536, it overflows
    assert line["gradient_norm"] is None
    assert all(torch.equal(each, old) for each, old in zip(run.parts.embedder.parameters(), before, strict=True))
    assert {float(held["step"]) for held in run.parts.optimizer.state.values()} == {0.0}
    while line["gradient_norm"] is None:
        line = run.step(pixels, rows)
    assert {float(held["step"]) for held in run.parts.optimizer.state.values()} == {1.0}
    for each, old in zip(run.parts.embedder.parameters(), before, strict=True):
        assert each.grad is not None
        assert not torch.equal(each, old) or not each.grad.any()  # weights that end as zeros have no way back yet
