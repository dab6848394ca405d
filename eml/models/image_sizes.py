"""The sizes of images that a network takes."""

from contextlib import suppress
from typing import Any

import torch

from eml.images.image_size import Size, height_width, mean_side, one_form
from eml.models.backbones import check_backbone, create_backbone, preprocess_of
from eml.models.config import ModelConfig

_STEP = 32
"""Pixels of the image for each of the last features, in nearly all networks of stages."""


def nearest_size(backbone: str | ModelConfig, size: Size) -> Size:
    """Return the size of images nearest to `size` that a network takes without cutting pixels off.

    Of what is no square each side is the nearest multiple of the patch, or of 32 where that is not enough; a network
    that takes no such images gets the nearest square of as many pixels.

    Args:
        backbone: Name of a backbone, or the network of a config or checkpoint.
        size: The size to be near to: a side (pixels) or (height, width).

    Raises:
        ConfigError: The backbone is unknown.
    """
    check_backbone(backbone)
    if isinstance(size, int):
        return nearest_side(backbone, size)
    for multiple in (_patch_of(backbone), _STEP):
        height, width = (max(multiple, round(side / multiple) * multiple) for side in size)
        if takes(backbone, nearest := one_form((height, width))):
            return nearest
    return nearest_side(backbone, round(mean_side(size)))


def takes(backbone: str | ModelConfig, size: Size) -> bool:
    """Return whether a network runs on images of a size, without the memory that its weights and features take."""
    try:
        features = _on_meta(backbone, size)(torch.zeros(1, 3, *height_width(size), device="meta"))
    except Exception:  # an error of any type, depending on the family
        return False
    return bool(features.ndim == 2)


def nearest_side(backbone: str | ModelConfig, side: int) -> int:
    """Return the side of square images (pixels) nearest to `side` that a network takes without cutting pixels off.

    A vision transformer takes multiples of its patch. A network that takes neither that nor `side` gets its own size.

    Args:
        backbone: Name of a backbone, or the network of a config or checkpoint.
        side: The side to be near to.

    Raises:
        ConfigError: The backbone is unknown.
    """
    check_backbone(backbone)
    own = round(mean_side(preprocess_of(backbone).size))
    with suppress(Exception):  # a family may refuse the meta device, where nothing is allocated, or the size
        patch = _patch_of(backbone)
        nearest = max(patch, round(side / patch) * patch)
        _on_meta(backbone, nearest)(torch.zeros(1, 3, nearest, nearest, device="meta"))
        return nearest
    return own


def _on_meta(backbone: str | ModelConfig, size: Size) -> Any:
    with torch.device("meta"):
        return create_backbone(backbone, size).eval()


def _patch_of(backbone: str | ModelConfig) -> int:
    """Return the side of a network's patch; 1 without patches, or where that cannot be seen."""
    with suppress(Exception):
        return _patch(_on_meta(backbone, preprocess_of(backbone).size))
    return 1


def _patch(model: Any) -> int:
    """Return the side of a patch; 1 without patches."""
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", 1)
    return max(patch) if isinstance(patch, tuple) else int(patch)
