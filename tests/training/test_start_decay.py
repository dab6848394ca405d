"""Weight decay towards the start."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from eml.dataset.table import Table
from eml.training.config import RunConfig
from eml.training.fit import fit
from eml.training.optimizer import new_optimizer
from eml.training.start_decay import StartDecay
from tests.training.runs import changed, left_by, lines, stop_at

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_each_step_goes_towards_the_start_by_the_rate_times_the_strength(name: str) -> None:
    random = np.random.default_rng(0)
    start, gradients = random.normal(size=(3, 2)), random.normal(size=(4, 3, 2))
    weight, free, other = (nn.Parameter(torch.from_numpy(start.copy())) for _ in range(3))
    groups = [
        {"params": [each], "lr": 0.1, "peak_lr": 0.1, "weight_decay": 0.0, "part": part}
        for each, part in ((weight, "backbone"), (other, "neck"))
    ]
    optimizer = new_optimizer(name, groups, torch.device("cpu"))
    decay = StartDecay(optimizer, 2.5)
    expected = start
    for number, gradient in enumerate(gradients):
        before = weight.detach().clone()
        for each in (weight, other):
            each.grad = torch.from_numpy(gradient.copy())
        decay.before()
        if number == 0:  # the scaler skips the first step of float16
            decay.after(skipped=True)
            assert torch.equal(weight, before)
            continue
        optimizer.step()
        moved = weight.detach().numpy()
        expected = moved - 0.1 * 2.5 * (moved - start)
        decay.after(skipped=False)
        np.testing.assert_allclose(weight.detach().numpy(), expected, atol=1e-14)
    assert torch.linalg.norm(weight - free) < torch.linalg.norm(other - free), "the neck is left alone"


@pytest.mark.wide
def test_a_run_with_it_resumes_to_the_bit_and_stays_nearer_to_its_start(
    config: RunConfig, table: Table, tmp_path: Path
) -> None:
    values = {"name": "adamw", "layer_decay": 0.8, "start_decay": 100, "lr": {"backbone": 1e-3}}
    whole = changed(config, optimizer=values, epochs=1, validation={"batch_size": 64})
    fit(whole, table)
    other = changed(whole, output=tmp_path / "stopped")
    stop_at(other, table, 3)
    fit(other, table, resume=True)
    assert left_by(other.output) == left_by(whole.output)
    free = changed(whole, optimizer=values | {"start_decay": 0}, output=tmp_path / "free")
    fit(free, table)
    assert lines(free.output)[-1]["loss"] != lines(whole.output)[-1]["loss"]
