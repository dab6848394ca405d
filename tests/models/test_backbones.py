"""Backbones as a family by prefix."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eml.errors import ConfigError
from eml.images.image_size import Size
from eml.images.preprocess import Preprocess
from eml.models.backbones import (
    BackboneFamily,
    Built,
    check_backbone,
    find_family,
    preprocess_of,
    without_memory,
    word_for_files,
)
from eml.models.config import ModelConfig
from eml.models.embedder import build_embedder, default_preprocess
from eml.models.image_sizes import nearest_size
from eml.models.necks.identity import Identity


class MeanColours(nn.Module):
    """The mean of each channel, times a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3)) * self.weight


class Colours(BackboneFamily):
    """A family of one backbone, as a plugin defines it."""

    prefix = "colours:"

    def check(self, name: str, where: str = "model.backbone") -> None:
        if name != "colours:mean":
            raise ConfigError(f"{where}: no {name}; allowed: colours:mean", code="unknown-choice")

    def preprocess(self, name: str, **overrides: Any) -> Preprocess:
        usual = {"size": 16, "interpolation": "bilinear", "mean": (0.5,) * 3, "std": (0.5,) * 3}
        return Preprocess(**usual | {key: value for key, value in overrides.items() if value is not None})

    def build(self, config: ModelConfig, image_size: Size | None) -> Built:
        return Built(MeanColours(), config.backbone, self.preprocess(config.backbone))

    def create(self, name: str, image_size: Size | None) -> nn.Module:
        return MeanColours()


def test_a_subclass_is_the_family_of_the_names_with_its_prefix() -> None:
    embedder = build_embedder(ModelConfig(backbone="colours:mean", weights="none"))
    assert embedder.features(torch.ones(2, 3, 16, 16)).tolist() == [[1.0] * 3] * 2
    assert default_preprocess(embedder) == preprocess_of("colours:mean")
    assert nearest_size("colours:mean", 20) == 20
    assert find_family("test_vit").prefix == find_family("colour").prefix == ""
    assert embedder.text is None
    assert not any(name.startswith("text") for name in embedder.state_dict())
    network = without_memory(ModelConfig(backbone="colours:mean"), 16)
    assert network is not None
    assert all(weight.is_meta for weight in network.parameters())
    with pytest.raises(ConfigError, match="allowed: colours:mean"):
        check_backbone("colours:median")


def test_a_name_in_a_files_name_has_neither_slash_nor_colon() -> None:
    assert word_for_files("open_clip:ViT-B-32/openai") == "open_clip_ViT-B-32_openai"
    assert word_for_files("resnet50.a1_in1k") == "resnet50.a1_in1k"


def test_two_families_cannot_have_one_prefix() -> None:
    with pytest.raises(TypeError, match=r"prefix 'colours:' is taken by .*Colours"):

        class Others(BackboneFamily):
            prefix = "colours:"


@pytest.mark.wide
@pytest.mark.parametrize(
    "name, size, features",
    [
        ("vit_base_patch32_clip_224.openai", 160, 768),
        ("vit_base_patch32_clip_224.laion2b", 224, 768),
        ("vit_base_patch16_siglip_224.webli", 160, 768),
        ("resnet50_clip.openai", 224, 2048),
    ],
)
def test_image_towers_of_timm_alone_are_built_without_a_text_tower(name: str, size: int, features: int) -> None:
    preprocess = preprocess_of(name)
    is_clip = "clip" in name
    assert preprocess.mean == ((0.48145466, 0.4578275, 0.40821073) if is_clip else (0.5, 0.5, 0.5))
    with torch.device("meta"):
        embedder = build_embedder(ModelConfig(backbone=name, weights="none", neck=Identity()), size)
        assert embedder(torch.zeros(2, 3, size, size)).shape == (2, features)
    assert embedder.text is None
    assert nearest_size(name, 100) == {"vit_base_patch32": 96, "vit_base_patch16": 96}.get(name[:16], 224)
