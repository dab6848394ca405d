"""Affine maps after a network become part of its neck, so that a checkpoint simply has a better one."""

from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from eml.errors import CheckpointError
from eml.models.config import ModelConfig
from eml.models.embedder import Embedder
from eml.models.necks.mlp import MLP
from eml.models.necks.projection import Projection
from eml.retrieval.affine import AffineProjection


def install_projection(neck: nn.Module, projection: AffineProjection) -> None:
    """Put a projection of the backbone's features into a neck of type projection, whose weights are replaced.

    Raises:
        CheckpointError: The neck is no such one, or of other sizes.
    """
    if not isinstance(neck, nn.Linear) or neck.bias is None:
        raise _no_fit(f"is put into a neck of type projection, and this one is {type(neck).__name__}")
    if tuple(neck.weight.shape) != tuple(projection.matrix.shape):
        neck_sizes, sizes = (
            f"{shape[1]:,} to {shape[0]:,} numbers" for shape in (neck.weight.shape, projection.matrix.shape)
        )
        raise _no_fit(f"is of {sizes}, and the neck of {neck_sizes}")
    with torch.no_grad():
        neck.weight.copy_(projection.matrix)
        neck.bias.copy_(projection.bias)


def fold_projection(neck: nn.Module, after: AffineProjection) -> nn.Linear:
    """Return one linear layer that does what a neck does in eval mode, and then a projection.

    It is computed in float64; the neck stays as it is.

    Args:
        neck: Identity, linear layers, BatchNorm (by its statistics), Dropout, or these in a row.
        after: The projection of the neck's outputs, as they are.

    Raises:
        CheckpointError: The neck is not affine, such as one with a ReLU, or of another size.
    """
    matrix, bias = after.matrix, after.bias
    for module in reversed(list(_layers(neck))):
        matrix, bias = _after(module, matrix, bias)
    layer = nn.Linear(matrix.shape[1], matrix.shape[0])
    reference = next(chain(neck.parameters(), neck.buffers()), layer.weight)
    with torch.no_grad():
        layer.weight.copy_(matrix)
        layer.bias.copy_(bias)
    return layer.to(reference.device).train(neck.training)


def with_projection(embedder: Embedder, config: ModelConfig, after: AffineProjection) -> tuple[Embedder, ModelConfig]:
    """Return a network whose embeddings are those of another one, projected, and its config.

    Its neck is of type projection, or still of type mlp with a new last layer. It shares the backbone with the other
    network, whose own neck stays as it is.

    Raises:
        CheckpointError: The projection does not fit.
    """
    neck: nn.Module
    new: Projection | MLP
    if isinstance(config.neck, MLP) and isinstance(embedder.neck, nn.Sequential):
        *layers, last = embedder.neck
        neck = nn.Sequential(*layers, fold_projection(last, after))
        new = config.neck.model_copy(update={"size": after.size})
    else:
        layer = fold_projection(embedder.neck, after)
        neck, new = layer, Projection(size=None if after.size == layer.in_features else after.size)
    folded = Embedder(embedder.backbone, neck, after.size, embedder.frozen, embedder.text)
    folded.notes, folded.memory_format, folded.preprocess = embedder.notes, embedder.memory_format, embedder.preprocess
    folded.architecture = embedder.architecture | {"neck": new.model_dump(mode="json")}
    return folded.train(embedder.training), config.model_copy(update={"neck": new})


def _layers(neck: nn.Module) -> list[nn.Module]:
    return [layer for module in neck for layer in _layers(module)] if isinstance(neck, nn.Sequential) else [neck]


def _after(module: nn.Module, matrix: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return matrix and bias (float64) of an affine map that follows a module, as one map."""
    if isinstance(module, nn.Identity | nn.Dropout):
        return matrix, bias
    if isinstance(module, nn.Linear):
        weight = _double(module.weight)
        if weight.shape[0] != matrix.shape[1]:
            raise _no_fit(f"is of {matrix.shape[1]:,} numbers, and the neck returns {weight.shape[0]:,}")
        return matrix @ weight, bias if module.bias is None else bias + matrix @ _double(module.bias)
    if isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None:
        if module.num_features != matrix.shape[1]:
            raise _no_fit(f"is of {matrix.shape[1]:,} numbers, and the neck returns {module.num_features:,}")
        scale = 1 / (_double(module.running_var) + module.eps).sqrt()
        scale = scale if module.weight is None else scale * _double(module.weight)
        shift = -_double(module.running_mean) * scale
        shift = shift if module.bias is None else shift + _double(module.bias)
        return matrix * scale, bias + matrix @ shift
    raise _no_fit(f"cannot become part of the neck, whose {type(module).__name__} is not affine")


def _double(tensor: Tensor | Any) -> Tensor:
    values: Tensor = tensor.detach().cpu().double()
    return values


def _no_fit(problem: str) -> CheckpointError:
    return CheckpointError(f"the projection {problem}", code="projection-does-not-fit")
