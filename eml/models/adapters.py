"""Low-rank adapters in the layers of a network, and the plain weights that they stand for. arXiv:2106.09685."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional


class Adapter(nn.Module):
    """A linear layer or 1×1 convolution with the weights W + (alpha/rank)·B·A, of which W and the bias are frozen.

    In training mode B·A is a branch beside the layer, which needs neither a gradient nor a copy as large as W. In eval
    mode the layer has the merged weights, as in a checkpoint, and gives the same numbers to the bit.

    Args:
        layer: The layer that it takes the place of.
        rank: Of B·A; at most the layer's inputs or outputs.
        alpha: B·A is multiplied by alpha/rank.
        dropout: Share of the branch's inputs dropped in training.
    """

    bias: Tensor | None

    def __init__(self, layer: nn.Linear | nn.Conv2d, *, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        layer.requires_grad_(False)
        outputs, inputs = layer.weight.shape[:2]
        own_rank = min(rank, inputs, outputs)
        self.base, self.bias, self.factor = layer.weight, layer.bias, alpha / rank
        self.lora_a = nn.Parameter(torch.randn(own_rank, inputs) / math.sqrt(inputs))
        self.lora_b = nn.Parameter(torch.zeros(outputs, own_rank))
        self.dropout = dropout
        self._call: Callable[[Tensor, Tensor, Tensor | None], Tensor] = functional.linear
        if isinstance(layer, nn.Conv2d):
            place = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
            self._call = partial(functional.conv2d, **place)
        self._ones = layer.weight.shape[2:]  # the sides of a convolution's kernel, none of a linear layer

    @property
    def weight(self) -> Tensor:
        """The merged weights, for models that use them without calling the layer."""
        return self.merge(self.base, self.lora_a, self.lora_b)

    def merge(self, base: Tensor, lora_a: Tensor, lora_b: Tensor) -> Tensor:
        """Return W + (alpha/rank)·B·A, with W's shape, precision and order in memory, which may choose the kernel."""
        with torch.autocast(base.device.type, enabled=False):
            return torch.empty_like(base).copy_(base + (self.factor * (lora_b @ lora_a)).view(base.shape))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the layer's outputs."""
        if not self.training:
            return self._call(inputs, self.weight, self.bias)
        outputs = self._call(inputs, self.base, self.bias)
        inputs = functional.dropout(inputs, self.dropout) if self.dropout else inputs
        small = self._call(inputs, self.lora_a.view(*self.lora_a.shape, *self._ones), None)
        if not self._ones:
            return outputs + self.factor * functional.linear(small, self.lora_b)
        return outputs + self.factor * functional.conv2d(small, self.lora_b.view(*self.lora_b.shape, *self._ones))


def can_adapt(module: nn.Module) -> TypeGuard[nn.Linear | nn.Conv2d]:
    """Return whether a module is a linear layer or a 1×1 convolution, and computes as torch defines it."""
    if type(module) is nn.Linear:
        return True
    return type(module) is nn.Conv2d and module.kernel_size == (1, 1) and module.groups == 1


def put_adapter(network: nn.Module, name: str, *, rank: int, alpha: float, dropout: float) -> None:
    """Put an adapter in the place of the layer of that name; the arguments are those of `Adapter`."""
    layer = network.get_submodule(name)
    assert can_adapt(layer)
    network.set_submodule(name, Adapter(layer, rank=rank, alpha=alpha, dropout=dropout))


def plain_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the plain network that a network with adapters stands for.

    Args:
        network: With adapters or without.
        weights: Its state, of whole tensors.
    """
    plain = dict(weights)
    for name, module in network.named_modules():
        if isinstance(module, Adapter):
            base, lora_a, lora_b = (plain.pop(f"{name}.{part}") for part in ("base", "lora_a", "lora_b"))
            plain[f"{name}.weight"] = module.merge(base, lora_a, lora_b)
    return plain


def parameter_counts(network: nn.Module) -> tuple[int, int]:
    """Return how many numbers the plain network has, and how many are trained, those of adapters included."""
    adapters = sum(
        module.lora_a.numel() + module.lora_b.numel() for module in network.modules() if isinstance(module, Adapter)
    )
    parameters = list(network.parameters())
    total = sum(parameter.numel() for parameter in parameters)
    return total - adapters, sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
