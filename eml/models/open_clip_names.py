"""Networks of open_clip by their names: what they are built from, and where their weights and tokenizers are."""

import json
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from eml.errors import CheckpointError, ConfigError, EmlError
from eml.json_files import read_json
from eml.models.hub import from_hub
from eml.models.open_clip_network import clean_definition, open_clip

PREFIX = "open_clip:"
LOCAL, HUB = "local-dir:", "hf-hub:"
CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")


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
            tags = package.list_pretrained_tags_by_model(architecture)
            close = get_close_matches(tag, tags, 3)
            hint = f" (did you mean {' or '.join(close)}?)" if close else ""
            listed = ", ".join(tags) or "none"
            raise self._unknown(f"open_clip has no weights {tag!r} of {architecture}{hint}; allowed: {listed}")

    def _unknown(self, text: str) -> ConfigError:
        where = self.where
        parameter = None if ":" in where else where.strip("`")
        return ConfigError(f"{where}: {text}", code="unknown-choice", parameter=parameter)

    @cached_property
    def definition(self) -> dict[str, Any]:
        """What the network is built from, with the config of a text tower of transformers."""
        own = self.definition_of_images
        text_network = own["model_cfg"]["text_cfg"].get("hf_model_name")
        return own if not text_network else own | {"hf_config": _text_config(text_network, self.name)}

    @cached_property
    def definition_of_images(self) -> dict[str, Any]:
        """What the image tower is built from."""
        package = open_clip()
        if self.folder is not None or self.hub is not None:
            folder = self.folder or _downloaded(self.hub or "", CONFIG).parent
            config = _config_in(folder, self.where)
            return clean_definition(config["model_cfg"], _openai() | config.get("preprocess_cfg", {}), self.name)
        config = package.get_model_config(self.parts[0])
        if self.tag_settings.get("quick_gelu"):  # where none is said, the architecture's own holds
            config["quick_gelu"] = True
        return clean_definition(config, _openai() | self.tag_settings, self.name)

    @property
    def notes(self) -> tuple[str, ...]:
        """A line where weights need another activation than the architecture of that name has."""
        if not self.tag_settings.get("quick_gelu") or open_clip().get_model_config(self.parts[0]).get("quick_gelu"):
            return ()
        return (f"model.backbone: {self.name} is built with QuickGELU, with which its weights were trained",)

    @property
    def tokenizer(self) -> str | Path | None:
        """Where the files of its tokenizer are."""
        own: str | None = self.definition_of_images["model_cfg"]["text_cfg"].get("hf_tokenizer_name")
        return self.folder or self.hub or own

    def weights(self) -> Path:
        """Return the file of its pretrained weights.

        Raises:
            ConfigError: The name says no weights.
            CheckpointError: They cannot be found or loaded.
        """
        package = open_clip()
        if self.folder is not None:
            return self._weights_in(self.folder)
        if self.hub is not None:
            return _downloaded(self.hub, None)
        if not self.tag_settings:
            architecture = self.parts[0]
            tags = package.list_pretrained_tags_by_model(architecture)
            choice = f"name them: open_clip:{architecture}/{tags[0]}" if tags else "open_clip has none"
            raise ConfigError(
                f"model.weights: {self.name} names no pretrained weights; {choice}{_or_others(tags[1:])}, give a file "
                "(model.weights: FILE) or train from scratch (model.weights: none)",
                code="missing-key",
                parameter="model.weights",
            )
        hub, _, file = self.tag_settings.get("hf_hub", "").rpartition("/")
        files = (file, str(Path(file).with_suffix(".safetensors"))) if file else WEIGHTS
        with from_hub(hub, files, self.name):
            return Path(package.download_pretrained(self.tag_settings))

    def _weights_in(self, folder: Path) -> Path:
        """Return the file of weights in a folder: under the name that open_clip gives it, else the only one."""
        files = [file for suffix in SUFFIXES for file in sorted(folder.glob(f"*{suffix}"))]
        usual = [folder / name for name in WEIGHTS if folder / name in files]
        if usual or len(files) == 1:
            return (usual or files)[0]
        content = f"several files of weights, {', '.join(file.name for file in files)}" if files else "no weights"
        text = f"{self.where}: {folder} has {content}; expected {WEIGHTS[0]}, or give a file (model.weights: FILE)"
        raise CheckpointError(text, code="missing-file", parameter="model.backbone")


def _or_others(tags: list[str]) -> str:
    """Return the other weights that could be named, a few of many."""
    if not tags:
        return ""
    more = f" and {len(tags) - 4} more, see open_clip.list_pretrained()" if len(tags) > 4 else ""
    return f" (or {', '.join(tags[:4])}{more})"


def _openai() -> dict[str, Any]:
    """Return the preprocessing of the first CLIP, which open_clip takes where nothing else is said."""
    package = open_clip()
    return {"mean": package.OPENAI_DATASET_MEAN, "std": package.OPENAI_DATASET_STD, "interpolation": "bicubic"}


def _downloaded(repository: str, file: str | None) -> Path:
    """Return a file of the hub, or its weights."""
    files = (file,) if file else WEIGHTS
    with from_hub(repository, files, PREFIX + HUB + repository):
        return Path(open_clip().pretrained.download_pretrained_from_hf(repository, filename=file))


def _text_config(source: str, name: str) -> dict[str, Any]:
    """Return the config of a text network of transformers. name: of the network that has it, for messages."""
    repository = None if Path(source).is_dir() else source
    try:
        from transformers import AutoConfig

        with from_hub(repository, ("config.json",), name, "files of the text tower"):
            config = AutoConfig.from_pretrained(source)
        loaded: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    except EmlError:
        raise
    except Exception as error:  # transformers raises errors of many types
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"model.backbone: the config of the text tower of {name}, {source}, cannot be loaded ({reason}); it needs "
            "transformers",
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
