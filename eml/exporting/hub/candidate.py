"""Read what was written as timm does, without eml, to compare it with the model that it was made from."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from eml.exporting.hub.transform import timm_settings
from eml.images.preprocess import Preprocess
from eml.inference.model import Model
from eml.json_files import read_json
from eml.models.compression import Compression
from eml.models.hub_folder import WEIGHTS


class TimmReading:
    """The embeddings that what was written gives without eml: timm's network, then the layers after it.

    Args:
        network: timm's network.
        layers: From what it returns to embeddings of unit length.
        settings: Of timm's transform.
    """

    def __init__(self, network: nn.Module, layers: Sequence[nn.Module], settings: dict[str, Any]) -> None:
        self.network, self.layers, self.settings = network.eval(), list(layers), settings

    @classmethod
    def of_folder(cls, folder: Path) -> "TimmReading":
        """Return a hub folder as timm loads it, with the layers in modules.json."""
        import timm

        network = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0)
        layers = [_stored(folder, entry) for entry in read_json(folder / "modules.json", list[dict[str, Any]])[1:]]
        return cls(network, layers, timm.data.resolve_model_data_config(network))

    @classmethod
    def of_file(cls, file: Path) -> "TimmReading":
        """Return a file of plain weights as its metadata say that it is loaded."""
        import timm

        with safe_open(file, "pt") as opened:
            facts = opened.metadata()
        tensors = load_file(file)
        layers: list[nn.Module] = []
        for number, name in enumerate(json.loads(facts["layers"])):
            if name == "UnitLength":
                layers.append(_UnitLength())
                continue
            parts = {part: tensors.pop(f"layers.{number}.{part}") for part in ("weight", "bias")}
            layers.append(_dense(parts, name))
        network = timm.create_model(
            facts["architecture"], num_classes=int(facts["num_classes"]), **json.loads(facts["model_args"])
        )
        network.load_state_dict(tensors)
        settings = timm_settings(Preprocess.model_validate_json(facts["preprocess"]))
        return cls(network, layers, timm.data.resolve_data_config(pretrained_cfg=settings))

    @cached_property
    def transform(self) -> Any:
        """timm's own transform: an image of Pillow → (3, H, W) float32."""
        import timm

        return timm.data.create_transform(**self.settings, is_training=False)

    def embed_pixels(self, pixels: Tensor) -> Tensor:
        """Return embeddings of unit length, (B, D) on the CPU, of images (B, 3, H, W) uint8 of the network's size."""
        mean, std = (torch.tensor(self.settings[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
        return self._embed((pixels.float() / 255 - mean) / std)

    def embed_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Return embeddings of unit length, (B, D), of images of Pillow by timm's own transform."""
        return self._embed(torch.stack([self.transform(image.convert("RGB")) for image in images]))

    def _embed(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            features: Tensor = self.network(images)
            for layer in self.layers:
                features = layer(features)
        return features


def as_libraries_embed(model: Model) -> Model:
    """Return a model without what only eml does: the views of an image, and the rounding of embeddings."""
    compression = model.compression
    if compression is not None:
        facts = compression.facts.model_copy(update={"storage": "float32"})
        compression = Compression(facts, compression.mean, compression.matrix)
    return Model(model.embedder, model.preprocess, model.device, backbone=model.backbone, compression=compression)


def _stored(folder: Path, entry: dict[str, Any]) -> nn.Module:
    """Return a module of sentence-transformers as modules.json has it."""
    place = folder / entry["path"]
    if entry["type"].endswith(".Normalize"):
        return _UnitLength()
    parts = {name.removeprefix("linear."): tensor for name, tensor in load_file(place / WEIGHTS).items()}
    return _dense(parts, read_json(place / "config.json", dict[str, Any])["activation_function"].rpartition(".")[2])


def _dense(parts: dict[str, Tensor], activation: str) -> nn.Module:
    linear = nn.Linear(parts["weight"].shape[1], parts["weight"].shape[0])
    linear.load_state_dict(parts)
    return nn.Sequential(linear, getattr(nn, activation)())


class _UnitLength(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return nn.functional.normalize(features)
