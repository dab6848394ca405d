"""Backbones as timm builds them: names, arguments, and the same features."""

from pathlib import Path
from typing import Any

import pytest
import torch

import eml
from eml.errors import ConfigError
from eml.exporting.hub.backbone import timm_backbone
from eml.images.loading import normalise
from eml.inference.model import Model
from tests.exporting.small_models import noise, small_model
from tests.tiny_clip import CLIP, NATIVE, SIGLIP, write_tiny_clip


def features(model: Model) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what eml's backbone and what timm's, with the modules after it, make of the same images."""
    backbone = timm_backbone(model.embedder, model.preprocess.size)
    network = backbone.create(0)
    images = normalise(noise(model), model.preprocess)
    with torch.no_grad():
        theirs = network(images)
        assert theirs.shape[1] == backbone.features
        for module in backbone.after:
            theirs = module(theirs)
        return model.embedder.features(images), theirs


@pytest.mark.parametrize(
    ("name", "size", "pooling"),
    [
        ("test_resnet", 64, "max"),
        ("test_vit", 96, "avg"),
        pytest.param("test_vit", 96, "default", marks=pytest.mark.wide),
    ],
)
def test_timm_gives_the_features_of_the_backbone(name: str, size: int, pooling: str) -> None:
    own, theirs = features(small_model(name, size=size, pooling=pooling))
    torch.testing.assert_close(theirs, own, rtol=1e-5, atol=1e-5)


def test_the_size_of_images_is_an_argument_where_weights_depend_on_it_and_never_the_classes() -> None:
    vit = timm_backbone(small_model("test_vit", size=96).embedder, 96)
    assert vit.model_args == {"img_size": [96, 96]}
    assert timm_backbone(small_model(pooling="max").embedder, 64).model_args == {"global_pool": "max"}


@pytest.mark.xdist_group("clip")
@pytest.mark.parametrize(
    "config",
    [CLIP, *(pytest.param(own, marks=pytest.mark.wide) for own in (NATIVE, SIGLIP))],
    ids=["timm", "native", "siglip"],
)
def test_image_towers_of_open_clip_are_networks_of_timm(tmp_path: Path, config: dict[str, Any]) -> None:
    pytest.importorskip("open_clip", reason="open_clip_torch is not installed")
    folder = write_tiny_clip(tmp_path / "clip", config=config)
    own, theirs = features(eml.load(f"open_clip:local-dir:{folder}"))
    torch.testing.assert_close(theirs, own, rtol=1e-5, atol=1e-5)


def test_gem_is_refused_since_timm_has_none() -> None:
    with pytest.raises(ConfigError, match="timm has no GeM") as caught:
        timm_backbone(small_model(pooling="gem").embedder, 64)
    assert (caught.value.code, caught.value.parameter) == ("not-for-this-format", "format")


@pytest.mark.xdist_group("clip")
def test_a_tower_with_parts_that_timm_lacks_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("open_clip", reason="open_clip_torch is not installed")
    vision = NATIVE["vision_cfg"] | {"pool_type": "avg"}
    folder = write_tiny_clip(tmp_path / "clip", config=NATIVE | {"vision_cfg": vision})
    with pytest.raises(ConfigError, match="has parts that timm's vision transformer has not"):
        timm_backbone(eml.load(f"open_clip:local-dir:{folder}").embedder, 64)
