"""Batches in parts, and precision."""

import numpy as np
import pytest
import torch

from eml.dataset.table import Table
from eml.errors import ConfigError
from eml.margins import Margin
from eml.training.build import build_parts
from eml.training.config import RunConfig
from eml.training.fit import Run
from tests.training.runs import changed

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "margin",
    [
        *("curricularface", "elastic_arcface", "proxy_anchor"),
        *(pytest.param(name, marks=pytest.mark.wide) for name in ("arcface", "adaface", "adacos")),
    ],
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


@pytest.mark.parametrize(
    "neck", ["bnneck", *(pytest.param(name, marks=pytest.mark.wide) for name in ("mlp", "linear"))]
)
def test_with_frozen_statistics_a_batch_in_parts_steps_as_one_whatever_the_neck(
    neck: str, config: RunConfig, table: Table
) -> None:
    """The neck's BatchNorm sees the whole batch; seen in parts, its losses differ in the first digit."""
    model = {"backbone": "test_resnet", "weights": "none", "neck": {"type": neck}, "batch_norm": "frozen"}
    sgd = {"name": "sgd", "lr": {"backbone": 0.01, "neck": 0.1, "class_weights": 0.1}}
    settings = {"model": model, "optimizer": sgd, "batch_size": 5}
    losses = []
    for count in (1, 2, 5):
        run = Run(build_parts(changed(config, **settings, accumulate=count), table))
        losses.append([run.step(pixels, rows)["loss"] for pixels, rows in run.batches.of_epoch(1, 0)])
    assert losses[1:] == [pytest.approx(losses[0], rel=2e-3)] * 2


def test_a_part_of_one_image_is_an_error_where_batch_norm_has_one_value_a_channel(
    config: RunConfig, table: Table
) -> None:
    model = {"backbone": "test_resnet", "weights": "none", "neck": {"type": "bnneck"}}
    run = Run(build_parts(changed(config, model=model, batch_size=4, accumulate=4), table))
    run.parts.embedder.backbone = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.BatchNorm2d(3))
    with pytest.raises(ConfigError, match=r"accumulate: a part of a batch has one image, .* model\.batch_norm: frozen"):
        run.parts.gradient_cache.forward(torch.randn(4, 3, 32, 32))


def test_a_frozen_backbone_trains_its_neck_in_parts(config: RunConfig, table: Table) -> None:
    run = Run(build_parts(changed(config, batch_size=6, accumulate=3), table))
    run.parts.embedder.backbone.requires_grad_(False)
    assert run.step(*next(run.batches.of_epoch(1, 0)))["gradient_norm"] > 0


def test_the_second_pass_over_the_parts_draws_the_same_dropout_and_moves_statistics_once(
    config: RunConfig, table: Table
) -> None:
    model = {"backbone": "test_resnet", "weights": "none", "neck": {"type": "linear", "size": 16, "dropout": 0.5}}
    run = Run(build_parts(changed(config, model=model, batch_size=16, accumulate=4), table))
    run.parts.embedder.train()
    images = torch.randn(16, 3, 32, 32)
    cache = run.parts.gradient_cache
    cache.forward(images)
    again = torch.cat([redo() for redo in cache._redo])
    torch.testing.assert_close(cache._features, again, rtol=0, atol=0)
    weights = run.parts.embedder.state_dict()
    counts = {name: int(count) for name, count in weights.items() if name.endswith("num_batches_tracked")}
    assert {count for name, count in counts.items() if name.startswith("backbone.")} == {4}
    assert {count for name, count in counts.items() if name.startswith("neck.")} == {1}


def test_bfloat16_trains_and_keeps_the_head_in_float32(config: RunConfig, table: Table) -> None:
    losses: dict[str, list[float]] = {}
    for precision in ("float32", "bfloat16"):
        run = Run(build_parts(changed(config, precision=precision), table))
        losses[precision] = [run.step(pixels, rows)["loss"] for pixels, rows in run.batches.of_epoch(1, 0)]
    assert losses["float32"] != losses["bfloat16"]
    np.testing.assert_allclose(losses["bfloat16"], losses["float32"], rtol=0.1)
