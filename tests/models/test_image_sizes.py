"""The sizes of images that a network takes."""

import pytest

from eml.errors import ConfigError
from eml.models.image_sizes import nearest_size


@pytest.mark.parametrize(
    "backbone, size, nearest",
    [
        ("vit_small_patch14_dinov2", 160, 154),
        ("vit_small_patch14_dinov2", 224, 224),
        ("test_vit", 90, 96),
        ("test_vit", 5, 16),
        ("test_resnet", 90, 90),
    ],
)
def test_a_size_is_a_multiple_of_the_patch(backbone: str, size: int, nearest: int) -> None:
    assert nearest_size(backbone, size) == nearest


def test_an_unknown_network_is_an_error() -> None:
    with pytest.raises(ConfigError, match="has no model 'test_vitt'"):
        nearest_size("test_vitt", 160)
