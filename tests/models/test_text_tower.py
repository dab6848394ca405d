"""The text tower of a network that embeds images and texts in one space."""

from math import log

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from eml.errors import ConfigError
from eml.images.preprocess import Preprocess
from eml.inference.model import Model
from eml.models.embedder import Embedder
from eml.models.text_tower import TextTower

PREPROCESS = Preprocess(size=16, interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3)


def letters(texts: list[str]) -> Tensor:
    """Return the code points of the first three letters, as a tokenizer does."""
    return torch.tensor([[ord(letter) % 128 for letter in text[:3].ljust(3)] for text in texts], dtype=torch.int32)


class MeanOfLetters(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.vectors = nn.Embedding(128, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.vectors(tokens).mean(1)


def model(neck: nn.Module | None = None) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        tower = TextTower(MeanOfLetters(), letters, log(1 / 0.07), -10)
        backbone = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))
        return Model(Embedder(backbone, neck or nn.Identity(), 4, text=tower), PREPROCESS, torch.device("cpu"))


def test_texts_are_embedded_at_unit_length_whatever_the_batch_size() -> None:
    network = model()
    assert network.takes_text
    embeddings = network.embed_text(["red", "blue", "green"])
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(embeddings, network.embed_text(["red", "blue", "green"], batch_size=2))
    assert network.embed_text([]).shape == (0, 4)
    tower = network.embedder.text
    assert tower is not None
    assert tower.logit_scale.exp().item() == pytest.approx(1 / 0.07)
    assert {"text.logit_scale", "text.logit_bias", "text.network.vectors.weight"} <= set(network.embedder.state_dict())


def test_a_text_tower_is_trained_only_where_it_is_set_to_be() -> None:
    embedder = model().embedder
    embedder.train_text(False)
    embedder.train()
    tower = embedder.text
    assert tower is not None
    assert not tower.training
    assert not any(weight.requires_grad for weight in tower.parameters())
    assert embedder.backbone.training
    embedder.train_text(True)
    embedder.train()
    assert tower.training
    assert all(weight.requires_grad for weight in tower.parameters())


def test_a_network_whose_images_are_in_another_space_refuses_texts() -> None:
    network = model(nn.Linear(4, 4))
    assert not network.takes_text
    with pytest.raises(ConfigError, match=r"its neck moved the embeddings .* train with neck: identity") as caught:
        network.embed_text(["red"])
    assert caught.value.problems[0].code == "no-text-tower"
    network.embedder.text = None
    with pytest.raises(ConfigError, match="has no text tower"):
        network.embed_text(["red"])
    with pytest.raises(ConfigError, match="got a single text"):
        model().embed_text("red")
    with pytest.raises(ConfigError, match=r"texts must be UTF-8, got 'a\\udcff'"):
        model().embed_text(["a\udcff"])
