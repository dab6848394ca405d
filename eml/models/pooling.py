"""Pooling of a backbone's last feature map to one vector: timm's own ways, and GeM."""

import torch
from torch import Tensor, nn

from eml.errors import ConfigError


class GeM(nn.Module):
    """Generalised mean, (mean x^p)^(1/p) over the positions of a feature map, p learned.

    Radenović 2018, arXiv:1711.02512, eq. 3. p = 1 is the average, p = ∞ the maximum. x is clamped from below at 1e-6,
    as in the paper's code.

    Args:
        dims: The two spatial dimensions.
        keep: Whether they stay, with size 1.
        p: The initial exponent.
    """

    def __init__(self, dims: tuple[int, ...], *, keep: bool, p: float = 3.0) -> None:
        super().__init__()
        self.dims, self.keep = dims, keep
        self.p = nn.Parameter(torch.tensor(p))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C), or (B, C, 1, 1) with `keep`."""
        with torch.autocast(features.device.type, enabled=False):  # x³ leaves float16's range at 40
            powers = features.float().clamp_min(1e-6).pow(self.p)
            return powers.mean(self.dims, keepdim=self.keep).pow(1 / self.p).to(features.dtype)


def put_gem(backbone: nn.Module, name: str) -> None:
    """Replace the backbone's average pooling by GeM.

    Raises:
        ConfigError: The backbone does not pool a single feature map with timm's module.
    """
    from timm.layers import SelectAdaptivePool2d

    pools = [module for module in backbone.modules() if isinstance(module, SelectAdaptivePool2d)]
    if len(pools) != 1:
        raise ConfigError(
            f"model.pooling: gem needs a network that pools a map of features once, and {name} does not; "
            "take default, avg or max",
            code="unsupported-by-backbone",
            parameter="model.pooling",
        )
    average = pools[0].pool
    dims, flat = getattr(average, "dim", (2, 3)), getattr(average, "flatten", False)  # as in timm's fast pools
    pools[0].pool = GeM(tuple(dims), keep=not flat)
