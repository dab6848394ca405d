"""Layers after the backbone, as modules of sentence-transformers: linear layers with activations, and unit length."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from eml.errors import CheckpointError, ConfigError
from eml.models.compression import Compression
from eml.models.fold import fold_projection
from eml.retrieval.affine import AffineProjection

_ACTIVATIONS: tuple[type[nn.Module], ...] = (nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid)
"""sentence-transformers builds an activation by its class without arguments."""


@dataclass(frozen=True)
class DenseLayer:
    """y = activation(W x + b).

    Attributes:
        weight: (D, F) float32.
        bias: (D,) float32.
        activation: A class of torch.nn that takes no arguments.
    """

    weight: Tensor
    bias: Tensor
    activation: type[nn.Module] = nn.Identity

    def __call__(self, features: Tensor) -> Tensor:
        """(B, F) → (B, D)."""
        outputs: Tensor = self.activation()(nn.functional.linear(features, self.weight, self.bias))
        return outputs


@dataclass(frozen=True)
class UnitLength:
    """y = x / |x|."""

    def __call__(self, features: Tensor) -> Tensor:
        """(B, D) → (B, D)."""
        return normalize(features)


Layer = DenseLayer | UnitLength


def apply_layers(layers: Sequence[Layer], features: Tensor) -> Tensor:
    """Return what layers in a row make of features (B, F)."""
    for layer in layers:
        features = layer(features)
    return features


def single_linear(layers: Sequence[Layer]) -> DenseLayer | None:
    """Return the linear layer where nothing but it and unit length follows the backbone; else None."""
    match list(layers):
        case [DenseLayer(activation=nn.Identity) as layer, UnitLength()]:
            return layer
    return None


def layers_after(modules: Sequence[nn.Module], features: int, compression: Compression | None) -> list[Layer]:
    """Return the layers from a backbone's features to embeddings of unit length, BatchNorm and projections folded.

    Rounding, the `storage` of a compression, is not among them.

    Args:
        modules: What the features go through, in eval mode.
        features: The number F of features.
        compression: What is done to the embeddings afterwards.

    Raises:
        ConfigError: A module is no linear layer, BatchNorm, Dropout or usual activation.
    """
    layers: list[Layer] = []
    group: list[nn.Module] = []
    for module in _in_a_row(modules):
        if not isinstance(module, _ACTIVATIONS):
            group.append(module)
            continue
        if repr(module).replace("inplace=True", "") != repr(type(module)()):
            raise _not_layers(repr(module))
        layer = _folded(group, features)
        layers.append(DenseLayer(layer.weight, layer.bias, type(module)))
        group, features = [], len(layer.bias)
    if _is_any(group):
        layer = _folded(group, features)
        layers.append(layer)
        features = len(layer.bias)
    return _with_compression(layers, features, compression)


def _with_compression(layers: list[Layer], features: int, compression: Compression | None) -> list[Layer]:
    """Return layers that end in embeddings; a matrix without a mean becomes part of the last linear layer.

    With a mean the network's embeddings have unit length before it is subtracted, so the two are layers of their own.
    """
    if compression is None:
        return [*layers, UnitLength()]
    own = compression.matrix
    matrix = (torch.eye(compression.size, features) if own is None else own).detach().cpu().double()
    if compression.mean is not None:
        bias = -(matrix @ compression.mean.detach().cpu().double())
        return [*layers, UnitLength(), DenseLayer(matrix.float(), bias.float()), UnitLength()]
    if own is None and compression.size == features:
        return [*layers, UnitLength()]
    match layers:
        case [*before, DenseLayer(activation=nn.Identity) as last]:
            weight, bias = matrix @ last.weight.double(), matrix @ last.bias.double()
            return [*before, DenseLayer(weight.float(), bias.float()), UnitLength()]
    return [*layers, DenseLayer(matrix.float(), torch.zeros(len(matrix))), UnitLength()]


def _in_a_row(modules: Sequence[nn.Module]) -> list[nn.Module]:
    return [
        layer
        for module in modules
        for layer in (_in_a_row(list(module)) if isinstance(module, nn.Sequential) else [module])
    ]


def _is_any(group: Sequence[nn.Module]) -> bool:
    return not all(isinstance(module, nn.Identity | nn.Dropout) for module in group)


def _folded(group: Sequence[nn.Module], features: int) -> DenseLayer:
    """Return linear layers and BatchNorm in a row as one layer; computed in float64."""
    size = features
    for module in group:
        size = module.out_features if isinstance(module, nn.Linear) else size
    same = AffineProjection(torch.zeros(size, dtype=torch.float64), torch.eye(size, dtype=torch.float64))
    try:
        layer = fold_projection(nn.Sequential(*group), same)
    except CheckpointError as error:
        raise _not_layers(", ".join(type(module).__name__ for module in group)) from error
    return DenseLayer(layer.weight.detach().cpu().float(), layer.bias.detach().cpu().float())


def _not_layers(modules: str) -> ConfigError:
    text = (
        f"a hub folder holds linear layers, BatchNorm and usual activations after the backbone, and this neck has "
        f"{modules}; take `format` onnx or torch, which hold any network"
    )
    return ConfigError(text, code="not-for-this-format", parameter="format")
