"""Models of timm in folders and repositories of the hub, that is a config.json with the weights beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eml.errors import ConfigError
from eml.json_files import read_json
from eml.models.hub import FILES, from_hub
from eml.models.hub_folder import HUB

LOCAL = "local-dir:"
CONFIG = "config.json"


@dataclass(frozen=True)
class TimmModel:
    """A model of timm, as a name stands for it.

    Attributes:
        architecture: The model's name in timm.
        model_args: What it is created with besides.
        pretrained: timm's settings of its weights and their preprocessing; empty: those that go with the name.
        weights: The file of its weights; None: where timm finds them.
        repository: The repository of the hub where the weights are, if they are in one.
    """

    architecture: str
    model_args: Mapping[str, Any]
    pretrained: Mapping[str, Any]
    weights: Path | None = None
    repository: str | None = None

    @property
    def definition(self) -> dict[str, Any] | None:
        """What a checkpoint says of it; None where the architecture's name is enough.

        Where images have another size, the size is that of the preprocessing, and not a part of the definition.
        """
        arguments = {name: value for name, value in self.model_args.items() if name != "img_size"}
        if not arguments or _structure(self.architecture, arguments) == _structure(self.architecture, {}):
            return None
        return {"architecture": self.architecture, "model_args": arguments}


def is_elsewhere(name: str) -> bool:
    """Return whether a name stands for a folder or a repository of the hub."""
    return name.startswith((LOCAL, HUB))


def find_timm(name: str, definition: Mapping[str, Any] | None = None, where: str = "model.backbone") -> TimmModel:
    """Return what a name stands for. A folder's or repository's config.json is read.

    Args:
        name: A model of timm, `local-dir:PATH` or `hf-hub:OWNER/NAME`.
        definition: What a checkpoint says of it; None: the name alone says it.
        where: The config key or the argument that names it, for messages.

    Raises:
        ConfigError: A folder has no config.json of timm.
        CheckpointError: The hub cannot be reached, and its cache has no such file.
    """
    if definition is not None:
        return TimmModel(definition["architecture"], definition["model_args"], {})
    if name.startswith(LOCAL):
        folder = Path(name.removeprefix(LOCAL))
        weights = next((file for file in (folder / file for file in FILES) if file.is_file()), folder / FILES[0])
        return _read(folder / CONFIG, where, weights, None)
    if name.startswith(HUB):
        from huggingface_hub import hf_hub_download

        repository = name.removeprefix(HUB)
        with from_hub(repository, (CONFIG,), name):
            file = hf_hub_download(repository, CONFIG)
        return _read(Path(file), where, None, repository)
    return TimmModel(name, {}, {})


def _structure(architecture: str, arguments: Mapping[str, Any]) -> list[Any]:
    """Return the modules of a model with their settings and the shapes of their weights."""
    import timm
    import torch

    with torch.device("meta"):
        model = timm.create_model(architecture, num_classes=0, **arguments)
    plain = (bool, int, float, str, tuple, type(None))
    settings = [
        (name, type(module), {key: value for key, value in vars(module).items() if isinstance(value, plain)})
        for name, module in model.named_modules()
    ]
    return [settings, {name: tensor.shape for name, tensor in model.state_dict().items()}]


def _read(file: Path, where: str, weights: Path | None, repository: str | None) -> TimmModel:
    parameter = None if ":" in where else where.strip("`")
    if not file.is_file():
        text = f"{where}: {file.parent} has no {CONFIG}; a folder of timm holds that and model.safetensors"
        raise ConfigError(text, code="missing-file", parameter=parameter)
    try:
        content: dict[str, Any] = read_json(file, dict[str, Any])
        settings = dict(content.get("pretrained_cfg", content))  # the oldest ones have all in one
        architecture = str(content["architecture"])
        arguments = {key: value for key, value in (content.get("model_args") or {}).items() if key != "num_classes"}
    except (OSError, ValueError, KeyError, TypeError) as error:
        text = f"{where}: {file}: not a config.json of timm: {error}"
        raise ConfigError(text, code="damaged-file", parameter=parameter) from error
    for key in ("architecture", "num_features", "labels", "label_names", "label_descriptions"):
        settings.pop(key, None)
    if "num_classes" in content:
        settings["num_classes"] = content["num_classes"]
    return TimmModel(architecture, arguments, settings, weights, repository)
