"""The sizes of images that a network takes."""

from contextlib import suppress
from typing import Any

import torch

from eml.models.backbones import check_backbone, find_family, preprocess_of


def nearest_size(backbone: str, size: int) -> int:
    """Return the side of images (pixels) nearest to `size` that a network takes without cutting pixels off.

    A vision transformer takes multiples of its patch. A network that takes neither that nor `size` gets its own size.

    Args:
        backbone: Name of a backbone.
        size: The side to be near to.

    Raises:
        ConfigError: The backbone is unknown.
    """
    check_backbone(backbone)
    own = preprocess_of(backbone).size
    with suppress(Exception):  # a family may refuse the meta device, where nothing is allocated, or the size
        patch = _patch(_on_meta(backbone, own))
        nearest = max(patch, round(size / patch) * patch)
        _on_meta(backbone, nearest)(torch.zeros(1, 3, nearest, nearest, device="meta"))
        return nearest
    return own


def _on_meta(backbone: str, size: int) -> Any:
    with torch.device("meta"):
        return find_family(backbone).create(backbone, size)


def _patch(model: Any) -> int:
    """Return the side of a patch; 1 without patches."""
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", 1)
    return max(patch) if isinstance(patch, tuple) else int(patch)
