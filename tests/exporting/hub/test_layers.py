"""Necks and compressions as layers in a row, the same numbers as eml's own."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from eml.errors import ConfigError
from eml.exporting.hub.layers import DenseLayer, UnitLength, apply_layers, layers_after, single_linear
from eml.models.necks import Neck
from tests.exporting.small_models import small_compression

FEATURES = 12
NECKS: list[tuple[str, dict[str, Any], int]] = [
    ("identity", {}, 0),
    ("bnneck", {}, 1),
    ("linear", {"size": 8, "dropout": 0.1}, 1),
    ("linear", {"size": 8, "batch_norm": False}, 1),
    ("mlp", {"size": 8, "hidden": 10}, 2),
    ("projection", {"size": 6}, 1),
]


def neck(kind: str, settings: dict[str, Any]) -> nn.Module:
    config = next(cls for cls in Neck.__subclasses__() if cls.model_fields["type"].default == kind)(**settings)
    torch.manual_seed(0)
    module, _ = config.build(FEATURES)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            part.weight.data.uniform_(0.5, 2)
    for parameter in module.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return module.eval()


@pytest.mark.parametrize("compressed", ["", "a mean", "no mean"])
@pytest.mark.parametrize(("kind", "settings", "count"), NECKS)
def test_layers_give_what_neck_and_compression_give(
    kind: str, settings: dict[str, Any], count: int, compressed: str
) -> None:
    module, features = neck(kind, settings), torch.randn(5, FEATURES)
    with torch.no_grad():
        expected = normalize(module(features))
    compression = small_compression(expected.shape[1], mean=compressed == "a mean") if compressed else None
    layers = layers_after([module], FEATURES, compression)
    if compression is not None:
        expected = compression.apply(expected)
    torch.testing.assert_close(apply_layers(layers, features), expected, rtol=0, atol=1e-6)
    linear = sum(isinstance(layer, DenseLayer) for layer in layers)
    folds_into_last = compressed == "no mean" and count > 0
    assert linear == count + bool(compressed) - folds_into_last
    assert isinstance(layers[-1], UnitLength)
    assert (single_linear(layers) is not None) == (len(layers) == 2)


def test_a_truncation_drops_rows_and_adds_no_layer() -> None:
    module, features = neck("linear", {"size": 8}), torch.randn(5, FEATURES)
    compression = small_compression(8)
    compression.mean = compression.matrix = None
    layers = layers_after([module], FEATURES, compression)
    assert len(layers) == 2
    with torch.no_grad():
        expected = compression.apply(normalize(module(features)))
    torch.testing.assert_close(apply_layers(layers, features), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("module", [nn.LayerNorm(FEATURES), nn.GELU(approximate="tanh"), nn.Softplus()])
def test_a_neck_that_is_not_linear_is_refused_with_its_name(module: nn.Module) -> None:
    with pytest.raises(ConfigError, match=type(module).__name__) as caught:
        layers_after([module], FEATURES, None)
    assert (caught.value.code, caught.value.parameter) == ("not-for-this-format", "format")
