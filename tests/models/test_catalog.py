"""The backbones that there are, and what is known of each without its weights."""

import logging
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from eml.images.image_size import height_width
from eml.models.backbones import BackboneFamily, ListedBackbone, create_backbone
from eml.models.catalog import TESTED, BackboneFacts, facts_of, find_backbones, known_backbones
from eml.models.image_sizes import nearest_size

TOWERS = [name for names in TESTED.values() for name in names]


class Paintings(BackboneFamily):
    """A plugin's backbones."""

    prefix = "paintings:"

    def create(self, *arguments: Any, **settings: Any) -> Any: ...

    check = preprocess = build = create

    def listed(self) -> Sequence[ListedBackbone]:
        return [ListedBackbone("paintings:monet", "cc0-1.0")]


def test_a_backbone_is_found_by_a_part_of_its_name_a_pattern_and_other_words_for_it() -> None:
    names = [own.name for own in find_backbones("vit_small_patch14*")]
    assert names == ["vit_small_patch14_dinov2.lvd142m", "vit_small_patch14_reg4_dinov2.lvd142m"]
    assert find_backbones("DINOv2")[0].name.startswith("vit_base_patch14")
    assert {own.name.rpartition(".")[2] for own in find_backbones("siglip2")} == {"v2_webli"}
    assert [own.name for own in find_backbones("monet")] == ["paintings:monet"]
    assert [own.name for own in find_backbones("paintings:")] == ["paintings:monet"]
    assert not find_backbones("no such network")


def test_backbones_without_weights_are_listed_too_and_numbers_are_in_order() -> None:
    [bare] = [own for own in find_backbones("test_vit4") if own.name == "test_vit4"]
    assert (bare.has_weights, bare.licence) == (False, None)
    [own] = find_backbones("mobilenetv2_100")
    assert (own.name, own.has_weights, own.licence) == ("mobilenetv2_100.ra_in1k", True, "apache-2.0")
    names = [own.name for own in find_backbones("resnet*.a1_in1k")]
    assert names.index("resnet50.a1_in1k") < names.index("resnet101.a1_in1k")


def test_a_name_without_a_tag_stands_for_the_usual_weights() -> None:
    assert [own.name for own in known_backbones(["mobilenetv2_100", "vit_small_patch14_dinov2.lvd142m", "none"])] == [
        "mobilenetv2_100.ra_in1k",
        "vit_small_patch14_dinov2.lvd142m",
    ]


def test_the_facts_are_those_of_the_network() -> None:
    parameters = sum(weights.numel() for weights in create_backbone("test_vit", None).parameters())
    assert facts_of("test_vit.r160_in1k") == BackboneFacts(parameters, 160, 16, 64, "token")
    resnet = facts_of("test_resnet")
    assert (resnet.multiple, resnet.step, resnet.pooling) == (1, "any", "avg")
    fixed = facts_of("efficientformer_l1")
    assert (fixed.multiple, fixed.step) == (None, "none")


@pytest.mark.wide
@pytest.mark.parametrize("name", TOWERS)
def test_a_tested_image_tower_takes_another_size_and_learns(name: str) -> None:
    logging.getLogger("timm").setLevel(logging.ERROR)
    facts, size = facts_of(name), nearest_size(name, 64)
    if facts.parameters > 100e6:  # without memory
        with torch.device("meta"):
            assert create_backbone(name, size)(torch.zeros(2, 3, *height_width(size))).shape == (
                2,
                facts.embedding_size,
            )
        return
    model = create_backbone(name, size).train()
    features = model(torch.randn(2, 3, *height_width(size)))
    assert features.shape == (2, facts.embedding_size)
    features.square().mean().backward()
    gradients = [weights.grad for weights in model.parameters() if weights.grad is not None]
    assert gradients
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
