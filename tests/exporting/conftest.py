"""Small models to export."""

from pathlib import Path

import pytest
import torch
from torch import nn

from eml.images.preprocess import Preprocess
from eml.inference.model import Model
from eml.models.embedder import Embedder
from eml.models.necks import Neck


def tiny_model(neck: Neck, *, tta: str = "none", shape: tuple[int, int] = (12, 8), seed: int = 0) -> Model:
    """Return a network of one convolution, with statistics in its BatchNorm, that takes images of 12×8 pixels."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        backbone = nn.Sequential(
            *(nn.Conv2d(3, 6, 3, 2, bias=False), nn.BatchNorm2d(6), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(2), nn.Flatten()),
        )
        layers, size = neck.build(24)
        embedder = Embedder(backbone, layers, size).train()
        embedder.frozen = ()
        for _ in range(3):
            embedder(torch.randn(16, 3, *shape))
        for norm in [module for module in embedder.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]:
            nn.init.uniform_(norm.weight, 0.5, 2)
            nn.init.uniform_(norm.bias, -1, 1)
    preprocess = Preprocess(size=shape, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
    return Model(embedder, preprocess, torch.device("cpu"), backbone="tiny", tta=tta)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def checkpoint() -> Path:
    """A run of eml 0.1.0."""
    return Path(__file__).parents[1] / "fixtures/v0_1_0/run"
