"""Torch's fused Adam: where it is taken, that it is the same Adam, and what becomes of a state made elsewhere."""

import copy
from pathlib import Path

import pytest
import torch

from eml.dataset.table import Table
from eml.training.build import build_parts
from eml.training.config import RunConfig
from eml.training.fit import Run
from eml.training.optimizer import _is_fused, learning_rate_factor, load_optimizer, new_optimizer
from tests.training.runs import changed, stop_at


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


def test_other_optimizers_are_those_of_timm() -> None:
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


def test_schedules_by_hand(config: RunConfig) -> None:
    def factors(**settings: object) -> list[float]:
        schedule = changed(config, schedule=settings).schedule
        return [round(learning_rate_factor(schedule, step, 10, 5), 4) for step in range(10)]

    assert factors(shape="constant", warmup_epochs=0.4) == [0.3333, 0.6667, *[1.0] * 8]
    assert factors(shape="linear", warmup_epochs=0, final=0.5) == [1, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55]
    assert factors(shape="steps", warmup_epochs=0, step_at=[0.3, 0.8]) == [*[1.0] * 3, *[0.1] * 5, *[0.01] * 2]
    assert factors(warmup_epochs=0)[5] == 0.5


@pytest.mark.parametrize(
    ("name", "on_cpu", "on_cuda"),
    [
        ("adamw", True, True),
        ("Adam", True, True),
        ("sgd", False, True),
        ("momentum", False, True),
        ("lion", False, False),
        ("nadamw", False, False),
    ],
)
def test_optimizers_of_torch_are_fused_where_it_has_the_kernel(name: str, on_cpu: bool, on_cuda: bool) -> None:
    assert _is_fused(name, torch.device("cpu")) == on_cpu
    assert _is_fused(name, torch.device("cuda")) == (on_cuda and torch.version.cuda is not None)
