"""Batches in parts, and precision."""

import numpy as np
import pytest
import torch

from eml.dataset.table import Table
from eml.margins import Margin
from eml.training.build import build_parts
from eml.training.config import RunConfig
from eml.training.fit import Run
from tests.training.runs import changed

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "margin", ["arcface", "curricularface", "adaface", "elastic_arcface", "proxy_anchor", "adacos"]
)
def test_a_batch_in_parts_steps_as_one_whatever_the_margin_looks_at(
    margin: str, config: RunConfig, table: Table
) -> None:
    """With plain SGD: Adam steps by its full rate along rounding, such as the gradient of an attention's key bias."""
    model = {"backbone": "test_vit", "weights": "none", "neck": {"type": "identity"}}
    settings = {"model": model, "margin": {"type": margin}, "batch_size": 16, "head": {}}
    settings["optimizer"] = {"name": "sgd", "lr": {"backbone": 0.1, "class_weights": 0.1}}
    whole, divided = (Run(build_parts(changed(config, **settings, accumulate=count), table)) for count in (1, 4))
    assert Margin.members()[margin]
    for run in (whole, divided):
        for pixels, rows in run.batches.of_epoch(1, 0):
            line = run.step(pixels, rows)
    assert line["gradient_norm"] > 0
    weights = divided.parts.embedder.parameters()
    for (name, expected), weight in zip(whole.parts.embedder.named_parameters(), weights, strict=True):
        torch.testing.assert_close(weight, expected, rtol=1e-4, atol=1e-5, msg=name)
    torch.testing.assert_close(divided.parts.head.class_weights, whole.parts.head.class_weights, rtol=1e-4, atol=1e-5)


def test_the_second_pass_over_the_parts_draws_the_same_dropout_and_moves_statistics_once(
    config: RunConfig, table: Table
) -> None:
    model = {"backbone": "test_resnet", "weights": "none", "neck": {"type": "linear", "size": 16, "dropout": 0.5}}
    run = Run(build_parts(changed(config, model=model, batch_size=16, accumulate=4), table))
    run.parts.embedder.train()
    images = torch.randn(16, 3, 32, 32)
    first = run.parts.gradient_cache.forward(images)
    again = torch.cat([redo() for redo in run.parts.gradient_cache._redo])
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    counts = [value for name, value in run.parts.embedder.state_dict().items() if name.endswith("num_batches_tracked")]
    assert {int(count) for count in counts} == {4}


def test_bfloat16_trains_and_keeps_the_head_in_float32(config: RunConfig, table: Table) -> None:
    losses: dict[str, list[float]] = {}
    for precision in ("float32", "bfloat16"):
        run = Run(build_parts(changed(config, precision=precision), table))
        losses[precision] = [run.step(pixels, rows)["loss"] for pixels, rows in run.batches.of_epoch(1, 0)]
    assert losses["float32"] != losses["bfloat16"]
    np.testing.assert_allclose(losses["bfloat16"], losses["float32"], rtol=0.1)
