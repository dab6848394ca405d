"""Networks of open_clip by their names: what they are built from, and where their weights and tokenizers are."""

import json
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from eml.errors import CheckpointError, ConfigError
from eml.json_files import read_json
from eml.models.hub import from_hub
from eml.models.open_clip_network import clean_definition, open_clip

PREFIX = "open_clip:"
LOCAL, HUB = "local-dir:", "hf-hub:"
CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


@dataclass(frozen=True)
class NamedNetwork:
    """A network of open_clip by its name."""

    name: str
    where: str = "model.backbone"

    @property
    def rest(self) -> str:
        """The name without the prefix."""
        return self.name.removeprefix(PREFIX)

    @property
    def folder(self) -> Path | None:
        """The folder that the name says, if it says one."""
        return Path(self.rest.removeprefix(LOCAL)) if self.rest.startswith(LOCAL) else None

    @property
    def hub(self) -> str | None:
        """The repository of the hub that the name says, if it says one."""
        return self.rest.removeprefix(HUB) if self.rest.startswith(HUB) else None

    @cached_property
    def parts(self) -> tuple[str, str]:
        """The architecture, and the tag of its weights or nothing. open_clip takes ViT-B/32 for ViT-B-32."""
        whole = self.rest.replace("/", "-")
        if whole in open_clip().list_models():
            return whole, ""
        architecture, _, tag = self.rest.rpartition("/")
        return (architecture.replace("/", "-"), tag) if architecture else (self.rest, "")

    @property
    def own_name(self) -> str:
        """The name in checkpoints, which leads to no folder."""
        if self.folder is not None:
            return PREFIX + self.folder.resolve().name
        return self.name if self.hub is None else PREFIX + self.hub

    @property
    def tag_settings(self) -> dict[str, Any]:
        """What open_clip knows of the pretrained weights."""
        settings: dict[str, Any] = open_clip().get_pretrained_cfg(*self.parts) if self.parts[1] else {}
        return settings

    def check(self) -> None:
        """Raise a ConfigError if there is no such network or no such weights of it."""
        package = open_clip()
        if self.folder is not None:
            _config_in(self.folder, self.where)
            return
        if self.hub is not None:
            return
        architecture, tag = self.parts
        names = package.list_models()
        if architecture not in names:
            close = get_close_matches(architecture, names, 3)
            hint = f" (did you mean {' or '.join(PREFIX + name for name in close)}?)" if close else ""
            text = f"open_clip {package.__version__} has no network {architecture!r}{hint}"
            raise self._unknown(f"{text}; write open_clip:ARCH/PRETRAINED or open_clip:local-dir:PATH")
        if tag and not self.tag_settings:
            tags = ", ".join(package.list_pretrained_tags_by_model(architecture)) or "none"
            raise self._unknown(f"open_clip has no weights {tag!r} of {architecture}; allowed: {tags}")

    def _unknown(self, text: str) -> ConfigError:
        where = self.where
        parameter = None if ":" in where else where.strip("`")
        return ConfigError(f"{where}: {text}", code="unknown-choice", parameter=parameter)

    @cached_property
    def definition(self) -> dict[str, Any]:
        """What the network is built from."""
        package = open_clip()
        if self.folder is not None or self.hub is not None:
            folder = self.folder or _downloaded(self.hub or "", CONFIG).parent
            config = _config_in(folder, self.where)
            definition = clean_definition(config["model_cfg"], _openai() | config.get("preprocess_cfg", {}))
        else:
            config = package.get_model_config(self.parts[0])
            if self.tag_settings.get("quick_gelu"):  # where none is said, the architecture's own holds
                config["quick_gelu"] = True
            definition = clean_definition(config, _openai() | self.tag_settings)
        text_network = definition["model_cfg"]["text_cfg"].get("hf_model_name")
        return definition if not text_network else definition | {"hf_config": _text_config(text_network)}

    @property
    def notes(self) -> tuple[str, ...]:
        """A line where weights need another activation than the architecture of that name has."""
        if not self.tag_settings.get("quick_gelu") or open_clip().get_model_config(self.parts[0]).get("quick_gelu"):
            return ()
        return (f"model.backbone: {self.name} is built with QuickGELU, with which its weights were trained",)

    @property
    def tokenizer(self) -> str | Path | None:
        """Where the files of its tokenizer are."""
        own: str | None = self.definition["model_cfg"]["text_cfg"].get("hf_tokenizer_name")
        return self.folder or self.hub or own

    def weights(self) -> Path:
        """Return the file of its pretrained weights.

        Raises:
            ConfigError: The name says no weights.
            CheckpointError: They cannot be found or loaded.
        """
        package = open_clip()
        if self.folder is not None:
            file = package.factory._find_checkpoint_in_dir(self.folder)
            if file is None:
                text = f"{self.where}: {self.folder} has no weights, such as open_clip_model.safetensors"
                raise CheckpointError(text, code="missing-file", parameter="model.backbone")
            return Path(file)
        if self.hub is not None:
            return _downloaded(self.hub, None)
        if not self.tag_settings:
            architecture = self.parts[0]
            tags = package.list_pretrained_tags_by_model(architecture)
            choice = f"name them: open_clip:{architecture}/{tags[0]}" if tags else "open_clip has none"
            others = f" (or {', '.join(tags[1:])})" if tags[1:] else ""
            raise ConfigError(
                f"model.weights: {self.name} names no pretrained weights; {choice}{others}, give a file "
                "(model.weights: FILE) or train from scratch (model.weights: none)",
                code="missing-key",
                parameter="model.weights",
            )
        hub, _, file = self.tag_settings.get("hf_hub", "").rpartition("/")
        with from_hub(hub, (file,) if file else WEIGHTS, self.name):
            return Path(package.download_pretrained(self.tag_settings))


def _openai() -> dict[str, Any]:
    """Return the preprocessing of the first CLIP, which open_clip takes where nothing else is said."""
    package = open_clip()
    return {"mean": package.OPENAI_DATASET_MEAN, "std": package.OPENAI_DATASET_STD, "interpolation": "bicubic"}


def _downloaded(repository: str, file: str | None) -> Path:
    """Return a file of the hub, or its weights."""
    files = (file,) if file else WEIGHTS
    with from_hub(repository, files, PREFIX + HUB + repository):
        return Path(open_clip().pretrained.download_pretrained_from_hf(repository, filename=file))


def _text_config(name: str) -> dict[str, Any]:
    """Return the config of a text network of transformers."""
    try:
        from transformers import AutoConfig

        loaded: dict[str, Any] = json.loads(AutoConfig.from_pretrained(name).to_json_string(use_diff=False))
    except Exception as error:  # transformers raises errors of many types
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"model.backbone: the config of the text tower {name} cannot be loaded ({reason}); it needs transformers "
            "and the hub, or its cache",
            code="weights-unavailable",
            parameter="model.backbone",
        ) from error
    return loaded


def _config_in(folder: Path, where: str) -> dict[str, Any]:
    """Return the config of a network in a folder.

    Raises:
        ConfigError: There is none, or it is damaged.
    """
    file = folder / CONFIG
    parameter = None if ":" in where else where.strip("`")
    if not file.is_file():
        text = f"{where}: {folder} has no {CONFIG}; a folder of open_clip holds that and its weights"
        raise ConfigError(text, code="missing-file", parameter=parameter)
    try:
        config: dict[str, Any] = read_json(file, dict[str, Any])
        missing = [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in config["model_cfg"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{where}: {file}: damaged: {error}", code="damaged-file", parameter=parameter) from error
    if missing:
        text = f"{where}: {file}: model_cfg has no {', '.join(missing)}"
        raise ConfigError(text, code="damaged-file", parameter=parameter)
    return config
