"""Shapes that a network gives, worked out without the memory that its images would take."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from eml.errors import ConfigError
from eml.images.image_size import Size, height_width


def shape_of_features(backbone: nn.Module, size: Size) -> Tensor | None:
    """Return features without values, worked out without the memory that large images take; None where it cannot be."""
    tensors = (*backbone.parameters(), *backbone.buffers())
    memo: dict[int, Any] = {}
    for tensor in tensors:
        empty = torch.empty_like(tensor, device="meta")
        memo[id(tensor)] = nn.Parameter(empty, False) if isinstance(tensor, nn.Parameter) else empty
    try:
        features: Tensor = copy.deepcopy(backbone, memo)(torch.empty(1, 3, *height_width(size), device="meta"))
    except Exception:  # a tensor that is made on the way, or a size that it cannot take, of which the other way tells
        return None
    return features


def size_error(name: str, size: Size, error: Exception) -> ConfigError:
    """Return the error for a network that takes no images of a size, by its own error."""
    height, width = height_width(size)
    reason = (str(error).strip().splitlines() or [""])[0]
    shape = f"{height}×{width} pixels" + (" (height × width)" if height != width else "")
    text = f"model.backbone: {name} cannot take images of {shape}{f': {reason}' if reason else ''}"
    return ConfigError(text, code="unsupported-by-backbone", parameter="model.backbone")
