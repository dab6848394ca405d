"""Shapes that a network gives, worked out without the memory that its images would take."""

import copy
from typing import Any

import torch
from torch import Tensor, nn


def shape_of_features(backbone: nn.Module, side: int) -> Tensor | None:
    """Return features without values, worked out without the memory that large images take; None where it cannot be."""
    tensors = (*backbone.parameters(), *backbone.buffers())
    memo: dict[int, Any] = {}
    for tensor in tensors:
        empty = torch.empty_like(tensor, device="meta")
        memo[id(tensor)] = nn.Parameter(empty, False) if isinstance(tensor, nn.Parameter) else empty
    try:
        features: Tensor = copy.deepcopy(backbone, memo)(torch.empty(1, 3, side, side, device="meta"))
    except Exception:  # a tensor that is made on the way, or a size that it cannot take, of which the other way tells
        return None
    return features
