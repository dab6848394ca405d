"""The sizes of images that a network takes."""

import pytest

from eml.errors import ConfigError
from eml.images.image_size import Size
from eml.models.image_sizes import nearest_size


@pytest.mark.parametrize(
    "backbone, size, nearest",
    [
        ("vit_small_patch14_dinov2", 160, 154),
        ("vit_small_patch14_dinov2", 224, 224),
        ("test_vit", 90, 96),
        ("test_vit", 5, 16),
        ("test_resnet", 90, 90),
        ("test_resnet", 32, 32),
        ("test_resnet", (96, 32), (96, 32)),
        ("vit_small_patch14_dinov2", (256, 128), (252, 126)),
        ("test_vit", (250, 130), (256, 128)),
        ("test_vit", (44, 36), (48, 32)),
        ("test_vit", (36, 35), 32),
        ("maxvit_rmlp_pico_rw_256", (250, 130), (256, 128)),
        ("swin_tiny_patch4_window7_224", (256, 128), (256, 128)),
        ("nest_tiny", (256, 128), 224),
    ],
)
def test_a_size_is_a_multiple_of_the_patch(backbone: str, size: Size, nearest: Size) -> None:
    assert nearest_size(backbone, size) == nearest


def test_an_unknown_network_is_an_error() -> None:
    with pytest.raises(ConfigError, match="has no model 'test_vitt'"):
        nearest_size("test_vitt", 160)
