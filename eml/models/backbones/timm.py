"""Backbones of timm, by their names in timm."""

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook
from torch.utils.hooks import RemovableHandle

from eml.errors import CheckpointError, ConfigError, EmlError
from eml.files import refuse_pipe
from eml.images.image_size import Size, one_form
from eml.images.preprocess import Preprocess
from eml.models.backbones.base import ABORTS_IN_CHANNELS_LAST, BackboneFamily, Built, ListedBackbone, prefixes
from eml.models.config import ModelConfig, StoredModel
from eml.models.hub import FILES, from_hub, pretrained_weights
from eml.models.hub_folder import HUB
from eml.models.shapes import size_error
from eml.models.timm_folders import TimmModel, find_timm
from eml.models.weights import weights_without_prefix


class Timm(BackboneFamily):
    """The models of timm, whose names have no prefix."""

    prefix: ClassVar[str] = ""

    def listed(self) -> list[ListedBackbone]:
        """Return the models with each of their pretrained weights, and those without any."""
        import timm

        settings = {name: timm.get_pretrained_cfg(name) for name in timm.list_models(pretrained=True)}
        with_weights = {name.partition(".")[0] for name in settings}
        return [
            *(ListedBackbone(name, own.license, str(own.hf_hub_id or "")) for name, own in settings.items() if own),
            *(ListedBackbone(name, has_weights=False) for name in timm.list_models() if name not in with_weights),
        ]

    def check(self, name: str, where: str = "model.backbone") -> None:
        """Raise a ConfigError with suggestions if timm has no such model."""
        import timm

        if name.startswith(HUB):
            return  # what is in the hub is known when it is loaded
        model = find_timm(name, where=where)
        if not timm.is_model(model.architecture):
            close = get_close_matches(model.architecture, timm.list_models(), 3)
            hint = f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""
            if close := get_close_matches(name.partition(":")[0] + ":", prefixes(), 1):
                hint = f" (did you mean {close[0]}…?)"
            text = f"{where}: timm {timm.__version__} has no model {model.architecture!r}{hint}"
            raise ConfigError(text, code="unknown-choice", parameter=None if ":" in where else where.strip("`"))

    def defined_in(self, name: str) -> str:
        """Return the module of a model that is registered in timm, which need not be one of timm's own."""
        from timm.models import is_model, model_entrypoint

        module: str = model_entrypoint(name).__module__ if is_model(name) else __name__
        return __name__ if module.partition(".")[0] == "timm" else module

    def preprocess(self, name: str, definition: Mapping[str, Any] | None = None, **overrides: Any) -> Preprocess:
        """Return the preprocessing that a model's weights were trained with, timm's default ones by a name alone."""
        import timm
        from timm.data import resolve_data_config

        if definition is None:
            self.check(name)
        model = find_timm(name, definition)
        usual = timm.get_pretrained_cfg(model.architecture)
        own = (usual.to_dict() if usual is not None else {}) | dict(model.pretrained)
        return _preprocess(resolve_data_config(pretrained_cfg=own), overrides)

    def build(self, config: ModelConfig, image_size: Size | None) -> Built:
        """Build the model with its weights, from the hub or a file."""
        from timm.data import resolve_model_data_config

        definition = config.definition if isinstance(config, StoredModel) else None
        if definition is None:
            self.check(config.backbone)
        source = find_timm(config.backbone, definition)
        module, notes = _create(config, source, image_size)
        return Built(
            module,
            config.backbone if definition is not None else source.architecture,
            _preprocess(resolve_model_data_config(module), {}),
            notes,
            channels_last=not source.architecture.startswith(ABORTS_IN_CHANNELS_LAST),
            definition=definition or source.definition,
        )

    def create(self, name: str, image_size: Size | None, definition: Mapping[str, Any] | None = None) -> nn.Module:
        """Return the model with random weights."""
        model = find_timm(name, definition)
        return create_at_size(model, image_size, {"num_classes": 0, "pretrained": False})

    def resample(self, tensors: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor] | None:
        """Return weights resampled as timm does it, such as position embeddings."""
        resample = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
        return None if resample is None else dict(resample(tensors, module))


def _preprocess(own: dict[str, Any], overrides: dict[str, Any]) -> Preprocess:
    known = {
        "size": one_form(tuple(own["input_size"][-2:])),
        "interpolation": own["interpolation"]
        if own["interpolation"] in ("bilinear", "bicubic", "lanczos")
        else "bicubic",
        "mean": own["mean"],
        "std": own["std"],
    }
    return Preprocess(**known | {key: value for key, value in overrides.items() if value is not None})


def _create(config: ModelConfig, source: TimmModel, image_size: Size | None) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the backbone with its weights, and notes on loading them."""
    name, prefix = config.backbone, ""
    file = _file(config.weights, source)
    options: dict[str, Any] = {"num_classes": 0, "pretrained": config.weights == "pretrained" or file is not None}
    if config.pooling not in ("default", "gem"):
        options["global_pool"] = config.pooling
        _check_pooling(source, options)
    if source.pretrained:
        options["pretrained_cfg"] = _settings(source)
    logging.getLogger("timm").setLevel(logging.ERROR)
    try:
        if file is not None:
            refuse_pipe(file)
            options["pretrained_cfg_overlay"], prefix = _weights_source(file, source)
        hub = from_hub(source.repository, FILES, name) if source.repository else pretrained_weights(source.architecture)
        with _record_missing_keys() as missing, hub if options["pretrained"] and file is None else nullcontext():
            model: nn.Module = create_at_size(source, image_size, options)
    except EmlError:
        raise
    except Exception as error:  # reading a damaged or foreign file raises errors of many types
        if image_size is not None and not _takes(source, image_size):
            raise size_error(name, image_size, error) from error
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if file is not None:
            raise _misfit(file, name, reason) from error
        raise CheckpointError(
            f"model.weights: the pretrained weights of {name} cannot be loaded ({reason}). "
            "Give a file (model.weights: FILE) or train from scratch (model.weights: none)",
            code="weights-unavailable",
            parameter="model.weights",
        ) from error
    if file is not None and (keys := missing()):
        raise _misfit(file, name, f"{len(keys)} of its tensors are missing in the file, first {keys[0]!r}")
    notes = (f"model.weights: the names in {file} begin with {prefix}, which was taken away",) if prefix else ()
    return model, notes


def _takes(source: TimmModel, image_size: Size) -> bool:
    """Return whether a model can be made for images of a size. The meta device allocates no memory."""
    try:
        with torch.device("meta"):
            create_at_size(source, image_size, {"num_classes": 0, "pretrained": False})
    except Exception:  # an error of any type, depending on the family
        return False
    return True


def _file(weights: Path | str, source: TimmModel) -> Path | None:
    """Return the file of weights to read; None: none, or timm finds them. `build_embedder` loads a checkpoint's.

    Raises:
        CheckpointError: There is no such file.
    """
    file = source.weights if weights == "pretrained" else weights
    if not isinstance(file, Path) or (file.is_dir() and weights != "pretrained"):
        return None
    if not file.exists():
        text = f"model.weights: {file} is neither a file nor a folder"
        raise CheckpointError(text, code="missing-file", parameter="model.weights")
    return file


def _settings(source: TimmModel) -> dict[str, Any]:
    """Return timm's settings of the weights in a folder or a repository, without those that this timm does not know."""
    from timm.models import PretrainedCfg

    known = {field.name for field in fields(PretrainedCfg)} - {"hf_hub_id", "file", "url", "source"}
    settings = {name: value for name, value in source.pretrained.items() if name in known}
    return settings | ({"hf_hub_id": source.repository, "source": "hf-hub"} if source.repository else {})


def _misfit(weights: Path, name: str, reason: str) -> CheckpointError:
    text = f"model.weights: {weights} does not fit {name}: {reason}"
    return CheckpointError(text, code="weights-do-not-fit", parameter="model.weights")


def _check_pooling(source: TimmModel, options: dict[str, Any]) -> None:
    """Raise a ConfigError if the family does not support the pooling. The meta device allocates no memory."""
    import timm

    try:
        with torch.device("meta"):
            timm.create_model(source.architecture, **{**source.model_args, **options, "pretrained": False})
    except Exception as error:  # an assertion or a TypeError, depending on the family
        raise ConfigError(
            f"model.pooling: {source.architecture} cannot pool by {options['global_pool']!r}; take default, or avg, "
            "max, gem for convolutional networks, token or map for transformers that have them",
            code="unsupported-by-backbone",
            parameter="model.pooling",
        ) from error


def _weights_source(weights: Path, source: TimmModel) -> tuple[dict[str, Any], str]:
    """Return timm's settings for loading from a file, and the prefix that was taken from the names in it.

    A .pth is read here with `weights_only`: no code in it runs.
    """
    if weights.suffix == ".safetensors":
        tensors = load_file(weights)
    else:
        try:
            loaded = torch.load(weights, map_location="cpu", weights_only=True)
        except UnpicklingError as error:  # whose text advises to run the code in it
            text = "it is no .pth of tensors alone (a state_dict); nothing else is read, since it could run code"
            raise ValueError(text) from error
        tensors = loaded.get("state_dict", loaded.get("model", loaded))
    with torch.device("meta"):
        names = set(create_at_size(source, None, {"num_classes": 0, "pretrained": False}).state_dict())
    named, prefix = weights_without_prefix(tensors, names)
    if weights.suffix == ".safetensors" and not prefix:
        return {"file": str(weights)}, ""
    return {"state_dict": named}, prefix


@contextmanager
def _record_missing_keys() -> Iterator[Callable[[], list[str]]]:
    """Yield a function that returns the names of the tensors that the weights loaded so far do not hold.

    timm builds a model and loads its weights in one call. It loads a backbone without classifier non-strictly, so a
    file of another architecture would pass without an error. `load_state_dict` passes one list of missing keys to the
    post hooks of all modules, so a hook on each module that is registered while this context is open sees that list.
    """
    lists: dict[int, list[str]] = {}
    handles: list[RemovableHandle] = []

    def record(module: nn.Module, keys: Any) -> None:
        lists[id(keys.missing_keys)] = keys.missing_keys

    def watch(parent: nn.Module, name: str, module: nn.Module | None) -> None:
        if module is not None:
            handles.append(module.register_load_state_dict_post_hook(record))

    handles.append(register_module_module_registration_hook(watch))
    try:
        yield lambda: [key for keys in lists.values() for key in keys]
    finally:
        for handle in handles:
            handle.remove()


def create_at_size(source: TimmModel, image_size: Size | None, options: dict[str, Any]) -> nn.Module:
    """Create the model, with `img_size` if its family takes it (ViT, Swin, …). Convolutional ones refuse it."""
    import timm

    options = {**source.model_args, **options}
    if image_size is not None:
        try:
            sized: nn.Module = timm.create_model(source.architecture, **options | {"img_size": image_size})
        except TypeError as error:
            if "img_size" not in str(error):
                raise
        else:
            return sized
    plain: nn.Module = timm.create_model(source.architecture, **options)
    return plain
