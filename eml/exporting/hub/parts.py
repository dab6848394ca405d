"""A model as timm's network and the layers after it, which the hub folder and plain weights are written from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from eml.errors import ConfigError
from eml.exporting.hub.backbone import TimmBackbone, timm_backbone
from eml.exporting.hub.layers import Layer, UnitLength, apply_layers, layers_after, single_linear
from eml.inference.model import Model
from eml.models.config import StoredModel
from eml.models.ensemble import members_of
from eml.models.needed_plugins import needed_plugins

_CLOSE = 1e-5
"""Of embeddings of unit length, how far those by timm's classifier may be from those by the layer it stands for."""


@dataclass(frozen=True)
class TimmParts:
    """A model in parts.

    Attributes:
        backbone: timm's network.
        layers: From its features to embeddings of unit length.
        head: The only linear layer as the weights of timm's classifier; empty where there is none such, or timm's
            classifier is no plain layer.
    """

    backbone: TimmBackbone
    layers: list[Layer]
    head: dict[str, Tensor]

    @property
    def classes(self) -> int:
        """The number of outputs of timm's classifier; 0: there is none."""
        linear = single_linear(self.layers)
        return len(linear.bias) if linear is not None and self.head else 0

    @property
    def is_direct(self) -> bool:
        """Whether timm's network gives embeddings that only lack unit length."""
        return bool(self.head) or len(self.layers) == 1


def parts_of(model: Model) -> TimmParts:
    """Return the parts of a model of one network.

    Raises:
        ConfigError: timm has no such network, or its neck is not made of linear layers.
    """
    if members_of(model.embedder):
        text = (
            f"{model.source or 'the model'} is an ensemble, and this format holds one network; export one of the runs, "
            "or take `format` onnx or torch"
        )
        raise ConfigError(text, code="not-for-this-format", parameter="format")
    backbone = timm_backbone(model.embedder, model.preprocess.size)
    layers = layers_after([*backbone.after, model.embedder.neck], backbone.features, model.compression)
    return TimmParts(backbone, layers, classifier_of(backbone, layers, model.preprocess.shape))


def left_out(model: Model) -> list[str]:
    """Return what of a model timm, sentence-transformers and transformers do not do, a sentence each; eml does it."""
    sentences = []
    if model.tta == "flip":
        sentences.append(
            "eml embeds the mean of an image and its mirror (tta: flip), the other libraries the image alone."
        )
    elif model.tta == "crops":
        sentences.append("eml embeds the mean of five crops (tta: crops), the other libraries the image alone.")
    if model.compression is not None and model.compression.facts.storage != "float32":
        sentences.append(
            f"eml rounds embeddings to {model.compression.facts.storage} ({model.compression.facts.name}), the other "
            "libraries do not."
        )
    if model.embedder.text is not None:
        sentences.append("eml embeds texts too; the other libraries have the image tower alone.")
    for plugin in needed_plugins([StoredModel.model_validate(model.embedder.architecture)]):
        sentences.append(
            f"eml loads it with the plugin {plugin.name}, which defines {plugin.words}; the others need none."
        )
    return sentences


def write_tensors(file: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors by name as safetensors; transformers reads files that say `pt` alone."""
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    file.write_bytes(save(stored, {"format": "pt"} | (metadata or {})))


def classifier_of(backbone: TimmBackbone, layers: Sequence[Layer], shape: tuple[int, int]) -> dict[str, Tensor]:
    """Return the layer after the backbone as the weights of timm's classifier; empty where timm's is no such layer."""
    linear = single_linear(layers)
    if linear is None:
        return {}
    try:
        network: Any = backbone.create(len(linear.bias))
        layer = network.get_classifier()
    except Exception:  # of any type, from families without a plain classifier
        return {}
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    if type(layer) is not nn.Linear or layer.bias is None or layer.weight.shape != linear.weight.shape:
        return {}
    with torch.no_grad():
        layer.weight.copy_(linear.weight)
        layer.bias.copy_(linear.bias)
        images = torch.rand(2, 3, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
        direct = UnitLength()(network(images))
        features = backbone.create(0)(images)
        distance = (direct - apply_layers(layers, features)).abs().max()
    if not distance <= _CLOSE:
        return {}
    return {names[id(parameter)]: parameter.detach() for parameter in (layer.weight, layer.bias)}
