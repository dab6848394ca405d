"""A backbone with a text tower, without a package that has one: a small network of images, and texts by their words."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from eml.errors import ConfigError
from eml.images.image_size import Size
from eml.images.preprocess import Preprocess
from eml.models.backbones import BackboneFamily, Built
from eml.models.config import ModelConfig
from eml.models.text_tower import TextTower

SIZE, WORDS = 16, 128
NAME, WITH_DROPOUT = "pictured_words:plain", "pictured_words:dropout"


class Words(nn.Module):
    """Tokens (B, 8) to the mean of the words' vectors, through a layer with dropout."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.words, self.out = nn.Embedding(WORDS, SIZE), nn.Linear(SIZE, SIZE)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.dropout(self.words(tokens).mean(1).tanh()))


def tokens_of(texts: list[str]) -> Tensor:
    numbers = [[1 + sum(map(ord, word)) % (WORDS - 1) for word in text.split()] for text in texts]
    return torch.tensor([(row + [0] * 8)[:8] for row in numbers])


class PicturedWords(BackboneFamily):
    """The family of the two backbones."""

    prefix = "pictured_words:"

    def check(self, name: str, where: str = "model.backbone") -> None:
        if name not in (NAME, WITH_DROPOUT):
            raise ConfigError(f"{where}: no {name}; allowed: {NAME}, {WITH_DROPOUT}", code="unknown-choice")

    def preprocess(self, name: str, definition: Mapping[str, Any] | None = None, **overrides: Any) -> Preprocess:
        usual = {"size": 32, "interpolation": "bilinear", "mean": (0.5,) * 3, "std": (0.5,) * 3}
        return Preprocess(**usual | {key: value for key, value in overrides.items() if value is not None})

    def build(self, config: ModelConfig, image_size: Size | None) -> Built:
        text = TextTower(Words(0.1 if config.backbone == WITH_DROPOUT else 0.0), tokens_of, 2.0)
        return Built(self.create(config.backbone, image_size), config.backbone, self.preprocess(""), text=text)

    def create(self, name: str, image_size: Size | None, definition: Mapping[str, Any] | None = None) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, SIZE)
        )
