"""Weights to begin with from another checkpoint of eml."""

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from eml.errors import CheckpointError
from eml.models.pointers import find_checkpoint


def take_weights(embedder: nn.Module, backbone: str, source: Path) -> None:
    """Backbone, and the neck where all of it fits, of a checkpoint folder or of a run's best checkpoint.

    Raises CheckpointError when it has another backbone or is damaged.
    """
    folder = find_checkpoint(source)
    try:
        there = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model"]["backbone"]
        tensors = load_file(folder / "model.safetensors")
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(f"model.weights: {folder}: damaged: {error}") from error
    if there != backbone:
        raise CheckpointError(f"model.weights: {folder} has backbone {there}, the config asks for {backbone}")
    own = embedder.state_dict()
    neck = {name: each.shape for name, each in own.items() if name.startswith("neck.")}
    if neck != {name: each.shape for name, each in tensors.items() if name.startswith("neck.")}:
        tensors = {name: each for name, each in tensors.items() if not name.startswith("neck.")}
        tensors |= {name: own[name] for name in neck}
    try:
        embedder.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"model.weights: {folder} does not fit: {str(error).splitlines()[1].strip()}") from error
