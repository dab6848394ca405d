"""Definitions, from which backbones are built whose names alone do not say what they are; checkpoints keep them."""

from pathlib import Path
from typing import Any

from eml.errors import CheckpointError
from eml.json_files import read_json
from eml.models.config import ModelConfig, StoredModel
from eml.models.pointers import find_checkpoint


def with_definition(config: ModelConfig) -> ModelConfig:
    """Return the config of a network with the definition in the checkpoint that its weights are of.

    So the backbone's name, such as that of a folder elsewhere, need not lead anywhere. Any other config is returned
    as it is.

    Args:
        config: Of a run, or of a checkpoint, which has its definition.
    """
    if isinstance(config, StoredModel) or not isinstance(config.weights, Path) or not config.weights.is_dir():
        return config
    try:
        folder = find_checkpoint(config.weights)
        model = read_json(folder / "config.json", dict[str, Any])["model"]
        if model["backbone"] != config.backbone or model.get("definition") is None:
            return config
    except (CheckpointError, OSError, ValueError, KeyError, TypeError):
        return config  # whoever reads the checkpoint says what is wrong with it
    return stored_model(config, config.backbone, model["definition"], folder)


def stored_model(
    config: ModelConfig, backbone: str, definition: dict[str, Any] | None, folder: Path | None = None
) -> StoredModel:
    """Return a config with a definition.

    Args:
        config: Of the network.
        backbone: The backbone's name in checkpoints.
        definition: What it is built from; None: the name alone says it.
        folder: The checkpoint with the definition's files.
    """
    own = {name: getattr(config, name) for name in ModelConfig.model_fields}
    return StoredModel.model_validate(own | {"backbone": backbone, "definition": definition, "folder": folder})
