"""Small models as `eml.load` gives them, with BatchNorm statistics and weights that are not the usual ones."""

from typing import Any

import torch
from torch import Tensor

from eml.images.preprocess import Preprocess
from eml.inference.model import Model
from eml.models.compression import Compression, CompressionFacts
from eml.models.config import ModelConfig
from eml.models.embedder import build_embedder, default_preprocess
from eml.models.trained_on import NOTHING_BY_EML


def small_model(
    backbone: str = "test_resnet",
    neck: str | dict[str, Any] = "identity",
    size: int | None = 64,
    *,
    pooling: str = "default",
    **ways: Any,
) -> Model:
    """Return a model of random weights; ways: arguments of Model."""
    config = ModelConfig.model_validate({"backbone": backbone, "weights": "none", "neck": neck, "pooling": pooling})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        embedder = build_embedder(config, size)
        for module in embedder.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
                module.weight.data.uniform_(0.5, 1.5)
                module.bias.data.normal_(0, 0.3)
    preprocess: Preprocess = ways.pop("preprocess", None) or default_preprocess(embedder, size=size)
    return Model(embedder, preprocess, torch.device("cpu"), trained_on=NOTHING_BY_EML, **ways)


def small_compression(size: int, storage: str = "float32", *, mean: bool = True) -> Compression:
    """Return a projection of embeddings of a size to half of their numbers."""
    generator = torch.Generator().manual_seed(0)
    facts = CompressionFacts.model_validate(
        {"name": "pca", "projection": "pca", "storage": storage, "network_size": size, "size": size // 2}
    )
    centre = 0.1 * torch.randn(size, generator=generator) if mean else None
    return Compression(facts, centre, torch.randn(size // 2, size, generator=generator))


def noise(model: Model, count: int = 3) -> Tensor:
    """Return images (B, 3, H, W) uint8 of a model's size."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, *model.preprocess.shape), dtype=torch.uint8, generator=generator)
