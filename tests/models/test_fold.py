"""A projection after a network, folded into its neck, gives the same embeddings; a neck that bends refuses it."""

from pathlib import Path

import pytest
import torch
from torch import nn

from eml.errors import CheckpointError, ConfigError
from eml.images.preprocess import Preprocess
from eml.models.checkpoint import load_checkpoint, save_checkpoint
from eml.models.config import ModelConfig
from eml.models.embedder import Embedder, build_embedder
from eml.models.fold import fold_projection, install_projection, with_projection
from eml.models.necks.projection import Projection
from eml.retrieval.affine import AffineProjection

SIDE = 32


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def projection(features: int, size: int) -> AffineProjection:
    return AffineProjection(drawn(features), drawn(size, features))


def embedder(neck: object) -> tuple[Embedder, ModelConfig]:
    config = ModelConfig.model_validate({"backbone": "test_resnet", "weights": "none", "neck": neck})
    torch.manual_seed(0)
    return build_embedder(config, SIDE), config


NECKS = [
    {"type": "identity"},
    {"type": "bnneck"},
    {"type": "linear", "size": 6, "dropout": 0.1},
    {"type": "linear", "size": 6, "batch_norm": False},
    {"type": "mlp", "size": 6, "hidden": 8},
    {"type": "projection", "size": 6},
]


@pytest.mark.parametrize("neck", NECKS, ids=lambda neck: neck["type"])
def test_a_folded_neck_does_what_neck_and_projection_did_also_after_a_checkpoint(neck: object, tmp_path: Path) -> None:
    network, config = embedder(neck)
    network.train()
    images = torch.randn(8, 3, SIDE, SIDE)
    for _ in range(3):
        network(images)  # BatchNorm gets statistics of its own
    for weight in network.neck.parameters():
        nn.init.normal_(weight)
    network.eval()
    after = projection(network.size, 4)
    expected = after.apply(network(images))
    folded, folded_config = with_projection(network, config, after)
    assert folded.size == 4
    torch.testing.assert_close(folded(images).double(), expected, rtol=1e-4, atol=1e-3)
    save_checkpoint(tmp_path / "folded", folded, folded_config, Preprocess(size=SIDE), ["a"], {})
    again = load_checkpoint(tmp_path / "folded").embedder
    assert torch.equal(again(images), folded(images))
    assert again.architecture == folded.architecture
    torch.testing.assert_close(after.apply(network(images)), expected)  # which has its own neck still


def test_a_neck_that_is_not_affine_or_of_another_size_refuses_a_projection() -> None:
    for neck, words in (
        (nn.Sequential(nn.Linear(4, 4), nn.ReLU()), "whose ReLU is not affine"),
        (nn.Linear(4, 5), "is of 4 numbers, and the neck returns 5"),
        (nn.BatchNorm1d(5), "is of 4 numbers, and the neck returns 5"),
    ):
        with pytest.raises(CheckpointError, match=words) as caught:
            fold_projection(neck, projection(4, 3))
        assert caught.value.code == "projection-does-not-fit"


def test_a_projection_neck_begins_as_the_identity_and_takes_a_projection_as_it_is() -> None:
    layer, size = Projection().build(5)
    rows = drawn(3, 5).float()
    assert torch.equal(layer(rows), rows)
    assert size == 5
    layer, size = Projection(size=3).build(5)
    assert torch.equal(layer(rows), rows[:, :3])
    install_projection(layer, projection(5, 3))
    torch.testing.assert_close(layer(rows).double(), projection(5, 3).apply(rows), rtol=1e-5, atol=1e-5)
    with pytest.raises(CheckpointError, match="is of 5 to 4 numbers, and the neck of 5 to 3 numbers"):
        install_projection(layer, projection(5, 4))
    with pytest.raises(CheckpointError, match="this one is BatchNorm1d"):
        install_projection(nn.BatchNorm1d(5), projection(5, 5))
    with pytest.raises(ConfigError, match=r"model\.neck\.size must be at most 5"):
        Projection(size=6).build(5)
