"""Plain weights in one file: the network under timm's names, and the linear layers after it."""

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file

from eml.errors import ConfigError
from eml.exporting.formats.base import ExportFormat, FormatSettings
from eml.exporting.hub.candidate import TimmReading, as_libraries_embed
from eml.exporting.hub.layers import DenseLayer
from eml.exporting.hub.parts import left_out, parts_of, write_tensors
from eml.inference.exported.facts import KEY, ExportFacts
from eml.inference.model import Model
from eml.models.weights_digest import digest_of_tensors


class Safetensors(ExportFormat):
    """One file of weights for own code with torch and timm, whose metadata say what it is.

    Where the layers after the backbone are one linear layer, it is timm's classifier, and `layers` is unit length
    alone. Else their weights are `layers.0.weight` and so on.
    """

    name, suffix = "safetensors", ".safetensors"

    def check(self, path: Path, settings: FormatSettings) -> None:
        """Raise a ConfigError where the file cannot be written so."""
        super().check(path, settings)
        if settings.input != "uint8":
            text = "`input` is of a graph with the normalisation in it, and `format` safetensors holds weights alone"
            raise ConfigError(text, code="conflicting-settings", parameter="input")

    def write(self, model: Model, path: Path, settings: FormatSettings) -> str:
        """Write the model to a new path, without facts."""
        parts = parts_of(model)
        layers = parts.layers[-1:] if parts.head else parts.layers
        tensors = parts.backbone.tensors | parts.head
        for number, layer in enumerate(layers):
            if isinstance(layer, DenseLayer):
                tensors |= {f"layers.{number}.weight": layer.weight, f"layers.{number}.bias": layer.bias}
        metadata = {
            "architecture": parts.backbone.architecture,
            "model_args": json.dumps(parts.backbone.model_args),
            "num_classes": str(parts.classes),
            "layers": json.dumps([_layer_name(layer) for layer in layers]),
            "preprocess": model.preprocess.model_dump_json(),
        }
        write_tensors(path, tensors, metadata)
        for sentence in left_out(model):
            settings.report(sentence)
        return ""

    def write_facts(self, path: Path, facts: ExportFacts) -> None:
        """Put the facts into the file's metadata, or replace those that are there."""
        with safe_open(path, "pt") as opened:
            metadata = opened.metadata()
        write_tensors(path, load_file(path), metadata | {KEY: facts.text()})

    def graph_digest(self, path: Path) -> str:
        """Return blake2b-128 of the tensors, whatever the metadata."""
        return digest_of_tensors(load_file(path))

    def opened(self, path: Path) -> Any:
        """Return the weights in timm's network, to be proven."""
        return TimmReading.of_file(path)

    def reference(self, model: Model) -> Model:
        """Return the model without what the file leaves out."""
        return as_libraries_embed(model)


def _layer_name(layer: Any) -> str:
    """Return UnitLength, or the activation after a linear layer."""
    return layer.activation.__name__ if isinstance(layer, DenseLayer) else type(layer).__name__
