"""The sizes of images that a network takes."""

import logging

import pytest
import timm
import torch

from eml.errors import ConfigError
from eml.images.image_size import Size
from eml.models.backbones import find_family
from eml.models.image_sizes import SizeRule, check_size, least_size, nearest_size, size_rule, takes_size

TRUE_SIZES = pytest.mark.skipif(
    torch.__version__.startswith("2.6"), reason="without memory, torch 2.6 takes images that vanish in the network"
)


@pytest.mark.parametrize(
    "backbone, size, nearest",
    [
        ("vit_small_patch14_dinov2", 160, 154),
        ("vit_small_patch14_dinov2", 224, 224),
        ("test_vit", 90, 96),
        ("test_vit", 5, 16),
        ("test_resnet", 90, 90),
        ("test_resnet", (96, 32), (96, 32)),
        ("vit_small_patch14_dinov2", (256, 128), (252, 126)),
        ("test_vit", (250, 130), (256, 128)),
        ("test_vit", (44, 36), (48, 32)),
        ("test_vit", (36, 35), 32),
        ("test_convnext", 90, 90),
        ("test_convnext", 16, 32),  # its last stage halves what is left
        ("efficientformer_l1", 90, 224),  # its attention has a table of fixed size
        ("efficientformer_l1", (256, 128), 224),
        pytest.param("maxvit_rmlp_pico_rw_256", (250, 130), (256, 128), marks=pytest.mark.wide),
        pytest.param("swin_tiny_patch4_window7_224", (256, 128), (256, 128), marks=pytest.mark.wide),
        pytest.param("nest_tiny", (256, 128), 176, marks=pytest.mark.wide),  # it takes squares alone
        pytest.param("dla46x_c", 90, 96, marks=pytest.mark.wide),  # its stages are joined where their sizes agree
        pytest.param("pvt_v2_b0", 90, 90, marks=pytest.mark.wide),  # its patches overlap
    ],
)
@TRUE_SIZES
def test_a_size_is_one_that_the_patches_and_stages_take(backbone: str, size: Size, nearest: Size) -> None:
    assert nearest_size(backbone, size) == nearest
    assert takes_size(backbone, size) == (size == nearest)


RULES = {
    "test_resnet": SizeRule(160),
    "test_vit": SizeRule(160, 16, 16),
    "test_coatnet": SizeRule(160, 32),
    "vit_small_patch14_dinov2": SizeRule(518, 14, 14),
    "efficientformer_l1": SizeRule(224, is_fixed=True),
}
MORE_RULES = {
    "test_vit3": SizeRule(160, 16, 16),
    "vit_small_patch14_reg4_dinov2": SizeRule(518, 14, 14),
    "vit_small_patch16_dinov3": SizeRule(256, 16, 16),
    "vit_pe_core_tiny_patch16_384": SizeRule(384, 16, 16),
    "vit_tiny_r_s16_p8_224": SizeRule(224, 32, 32),
    "xcit_nano_12_p8_224": SizeRule(224, 8),
    "levit_128s": SizeRule(224, 16),
    "hrnet_w18_small": SizeRule(224, 32),
    "swin_tiny_patch4_window7_224": SizeRule(224, 4, 4),
}


@pytest.mark.parametrize("backbone", [*RULES, *(pytest.param(name, marks=pytest.mark.wide) for name in MORE_RULES)])
def test_the_rule_of_a_network_comes_from_its_patches_and_stages(backbone: str) -> None:
    assert size_rule(backbone) == (RULES | MORE_RULES)[backbone]


@TRUE_SIZES
def test_a_wrong_size_is_an_error_that_names_the_nearest() -> None:
    check_size("test_vit", None, "image.size")
    check_size("test_vit", 96, "image.size")
    lines = {
        ("test_vit", 100): "takes sides that are multiples of 16 pixels, got 100; the nearest are 96 and 112",
        ("test_vit", 10): "takes sides that are multiples of 16 pixels, got 10; the nearest is 16",
        ("efficientformer_l1", 160): "takes images of 224 pixels, got 160; the nearest is 224",
        ("test_convnext", 16): "takes images from 32 pixels on, got 16",
    }
    for (backbone, size), line in lines.items():
        with pytest.raises(ConfigError) as caught:
            check_size(backbone, size, "image.size")
        assert str(caught.value) == f"image.size: {backbone} {line}"
        assert (caught.value.code, caught.value.parameter) == ("unsupported-by-backbone", "image.size")


def test_each_side_of_what_is_no_square_is_legal() -> None:
    check_size("test_vit", (96, 48), "image.size")
    rule = r"test_vit takes sides that are multiples of 16 pixels, got 250×130; the nearest is 256×128"
    with pytest.raises(ConfigError, match=f"image.size: {rule}"):
        check_size("test_vit", (250, 130), "image.size")


@TRUE_SIZES
def test_the_least_size_is_the_first_that_the_network_takes() -> None:
    assert [least_size(name) for name in ("test_resnet", "test_vit", "test_convnext")] == [8, 16, 32]


def test_an_unknown_network_is_an_error() -> None:
    with pytest.raises(ConfigError, match="has no model 'test_vitt'"):
        nearest_size("test_vitt", 160)


def smallest_of_each_module() -> list[str]:
    """Return a network of each module of timm: the first of those with the shortest name and a small own size."""
    chosen = []
    for module in timm.list_modules():
        names = timm.list_models(module=module)
        chosen.append(min(names, key=lambda name: (not name.startswith("test_"), len(name), name)) if names else "")
    return [name for name in chosen if name]


@pytest.mark.wide
@pytest.mark.parametrize("backbone", smallest_of_each_module())
def test_a_network_of_every_family_takes_what_its_rule_says(backbone: str) -> None:
    logging.getLogger("timm").setLevel(logging.ERROR)
    rule = size_rule(backbone)
    sizes = {rule.own, *(nearest_size(backbone, size) for size in (64, 100, 160, 224, 225, 300))}
    for size in sizes:
        assert size == rule.own or size % rule.patch == 0
        with torch.device("meta"):
            model = find_family(backbone).create(backbone, size).eval()
            assert model(torch.zeros(1, 3, size, size)).ndim == 2, size
