"""From a backbone's last feature map to one vector: timm's own ways, and GeM."""

from typing import Literal

import torch
from timm.layers import SelectAdaptivePool2d
from torch import Tensor, nn

from eml.errors import ConfigError

Pooling = Literal["default", "avg", "max", "avgmax", "gem", "token", "map"]


class GeM(nn.Module):
    """Generalised mean, (mean x^p)^(1/p) over the places of a map, p learned. Radenović 2018, arXiv:1711.02512, eq. 3.

    x is held above 1e-6, as in the paper's code. dims: the two spatial ones. p = 1 is the average, p = ∞ the maximum.
    """

    def __init__(self, dims: tuple[int, ...], *, keep: bool, p: float = 3.0) -> None:
        super().__init__()
        self.dims, self.keep = dims, keep
        self.p = nn.Parameter(torch.tensor(p))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C), or (B, C, 1, 1) where the places are kept as ones."""
        with torch.autocast(features.device.type, enabled=False):  # x³ leaves float16's range at 40
            powers = features.float().clamp_min(1e-6).pow(self.p)
            return powers.mean(self.dims, keepdim=self.keep).pow(1 / self.p).to(features.dtype)


def put_gem(backbone: nn.Module, name: str) -> None:
    """Put GeM in the place of the backbone's average. Raises ConfigError where it pools in a way of its own."""
    places = [module for module in backbone.modules() if isinstance(module, SelectAdaptivePool2d)]
    if len(places) != 1:
        raise ConfigError(
            f"model.pooling: gem needs a network that pools a map of features once, and {name} does not; "
            "take default, avg or max"
        )
    average = places[0].pool
    dims, flat = getattr(average, "dim", (2, 3)), getattr(average, "flatten", False)  # as timm's fast pools have them
    places[0].pool = GeM(tuple(dims), keep=not flat)
