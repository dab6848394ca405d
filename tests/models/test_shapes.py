"""Shapes are those of a real forward pass, also at sizes where that takes gigabytes."""

import pytest
import timm
import torch

from eml.models.config import ModelConfig
from eml.models.embedder import build_embedder
from eml.models.necks.identity import Identity
from eml.models.shapes import shape_of_features
from tests.fuzz.outcome import memory_below


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet"])
def test_features_are_counted_as_a_forward_pass_does_and_the_network_stays(name: str) -> None:
    network = timm.create_model(name, num_classes=0).eval()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    side = network.pretrained_cfg["input_size"][-1]
    features = shape_of_features(network, side)
    assert features is not None
    with torch.no_grad():
        assert features.shape == network(torch.zeros(1, 3, side, side)).shape
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())


def test_the_largest_images_take_no_memory_while_a_network_is_built() -> None:
    config = ModelConfig(backbone="test_resnet", weights="none", neck=Identity())
    with memory_below(10**8):  # a forward pass of 4096 × 4096 pixels takes 3 GB
        assert build_embedder(config, 4096).size == 96
