"""A hub folder as timm loads it, with the layers that sentence-transformers puts after it."""

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from eml.json_files import read_json
from eml.models.hub_folder import WEIGHTS


class TimmReading:
    """The embeddings that a hub folder gives without eml: timm's network, then the layers in modules.json.

    Args:
        folder: The hub folder.
    """

    def __init__(self, folder: Path) -> None:
        import timm

        self.folder = folder
        self.network: Any = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
        self.layers = [self._layer(entry) for entry in read_json(folder / "modules.json", list[dict[str, Any]])[1:]]
        self.settings = timm.data.resolve_model_data_config(self.network)

    @cached_property
    def transform(self) -> Any:
        """timm's own transform: an image of Pillow → (3, H, W) float32."""
        import timm

        return timm.data.create_transform(**self.settings, is_training=False)

    def embed_pixels(self, pixels: Tensor) -> Tensor:
        """Return embeddings of unit length, (B, D) on the CPU, of images (B, 3, H, W) uint8 of the network's size."""
        mean, std = (torch.tensor(self.settings[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
        return self._embed((pixels.float() / 255 - mean) / std)

    def embed_images(self, images: list[Image.Image]) -> Tensor:
        """Return embeddings of unit length, (B, D), of images of Pillow by timm's own transform."""
        return self._embed(torch.stack([self.transform(image.convert("RGB")) for image in images]))

    def _embed(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            features: Tensor = self.network(images)
            for layer in self.layers:
                features = layer(features)
        return features

    def _layer(self, entry: dict[str, Any]) -> nn.Module:
        kind, folder = entry["type"].rpartition(".")[2], self.folder / entry["path"]
        if kind == "Normalize":
            return _Normalize()
        settings = read_json(folder / "config.json", dict[str, Any])
        linear = nn.Linear(settings["in_features"], settings["out_features"])
        stored = load_file(folder / WEIGHTS)
        linear.load_state_dict({"weight": stored["linear.weight"], "bias": stored["linear.bias"]})
        return nn.Sequential(linear, getattr(nn, settings["activation_function"].rpartition(".")[2])())


class _Normalize(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return nn.functional.normalize(features)
