"""One module from pixels to the embeddings that `Model.embed_pixels` returns: that is exported."""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize as unit_length
from torch.nn.modules.batchnorm import _BatchNorm

from eml.inference.exported.facts import InputKind
from eml.inference.model import Model
from eml.models.embedder import Embedder, without_text
from eml.models.fold import fold_projection
from eml.models.views import views_of
from eml.retrieval.affine import AffineProjection


class InferenceGraph(nn.Module):
    """A model as one module: normalisation, its views, the network, their mean and its compression.

    Args:
        model: The model; its weights are shared.
        input: uint8: takes pixels (B, H, W, 3), RGB; float: takes (B, 3, H, W), normalised already.
        contiguous: Whether the weights are copied into the plain layout of memory. In channels_last, which torch
            computes faster in, torch writes global pooling as a read of strided memory, and OpenVINO then answers
            wrongly in int8 (cosine .4 to the truth).

    The neck's BatchNorm becomes a linear map, which is the same function in fewer steps. Rounding of a compression is
    part of the graph.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: Model, input: InputKind = "uint8", *, contiguous: bool = False) -> None:
        super().__init__()
        self.input, self.tta, self.compression = input, model.tta, model.compression
        network = _with_folded_neck(without_text(model.embedder)).eval()
        self.network = _contiguous(network) if contiguous else network
        for name in ("mean", "std"):
            values = torch.tensor(getattr(model.preprocess, name), dtype=torch.float32).view(1, 3, 1, 1)
            self.register_buffer(name, values.to(model.device))

    def forward(self, image: Tensor) -> Tensor:
        """Return embeddings (B, D) of unit length."""
        images = image
        if self.input == "uint8":
            images = image.permute(0, 3, 1, 2).float().div(255).sub(self.mean).div(self.std)
        views = views_of(images, self.tta)
        embeddings = unit_length(self.network(torch.cat(views) if len(views) > 1 else images).float())
        if len(views) > 1:  # all went through one copy of the network, beside each other
            embeddings = unit_length(embeddings.view(len(views), -1, embeddings.shape[1]).sum(0))
        return embeddings if self.compression is None else self.compression.apply(embeddings)

    def example(self, count: int, height_width: tuple[int, int]) -> Tensor:
        """Return an input of `count` grey images."""
        height, width = height_width
        if self.input == "uint8":
            return torch.full((count, height, width, 3), 128, dtype=torch.uint8, device=self.mean.device)
        return torch.zeros(count, 3, height, width, device=self.mean.device)


class _ScaleShift(nn.Module):
    """x · scale + shift, what BatchNorm does in eval mode."""

    scale: Tensor
    shift: Tensor

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__()
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        scale = scale if norm.weight is None else scale * norm.weight.double()
        shift = -norm.running_mean.double() * scale
        shift = shift if norm.bias is None else shift + norm.bias.double()
        self.register_buffer("scale", scale.detach().float())
        self.register_buffer("shift", shift.detach().float())

    def forward(self, features: Tensor) -> Tensor:
        return features * self.scale + self.shift


def _contiguous(embedder: Embedder) -> Embedder:
    """Return a network whose weights lie in memory in the order of their dimensions: a copy if they do not yet."""
    if embedder.memory_format == torch.contiguous_format:
        return embedder
    plain = deepcopy(embedder).to(memory_format=torch.contiguous_format)
    plain.memory_format = torch.contiguous_format
    return plain


def _with_folded_neck(embedder: Embedder) -> Embedder:
    """Return a network whose neck has no BatchNorm where that can be part of a linear map; the weights are shared."""
    neck = _folded(embedder.neck)
    if neck is embedder.neck:
        return embedder
    folded = Embedder(embedder.backbone, neck, embedder.size)
    folded.memory_format, folded.preprocess = embedder.memory_format, embedder.preprocess
    return folded


def _folded(neck: nn.Module) -> nn.Module:
    if isinstance(neck, _BatchNorm) and neck.running_mean is not None and neck.running_var is not None:
        return _ScaleShift(neck)
    if not isinstance(neck, nn.Sequential) or not any(isinstance(layer, _BatchNorm) for layer in neck):
        return neck
    if all(isinstance(layer, nn.Linear | nn.Identity | nn.Dropout | _BatchNorm) for layer in neck):
        size = next(layer.out_features for layer in reversed(neck) if isinstance(layer, nn.Linear))
        identity = AffineProjection(torch.zeros(size, dtype=torch.float64), torch.eye(size, dtype=torch.float64))
        return fold_projection(neck, identity)
    return neck
