"""Backbones of timm, by their names in timm."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
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
from eml.models.backbones.base import BackboneFamily, Built
from eml.models.config import ModelConfig
from eml.models.hub import pretrained_weights
from eml.models.shapes import size_error
from eml.models.weights import weights_without_prefix

# Training these in channels_last on a CPU corrupts the heap in torch 2.14, which ends the process without an error.
_ABORTS_IN_CHANNELS_LAST = ("fastvit", "mobileone", "repvgg")


class Timm(BackboneFamily):
    """The models of timm, whose names have no prefix."""

    prefix: ClassVar[str] = ""

    def check(self, name: str, where: str = "model.backbone") -> None:
        """Raise a ConfigError with suggestions if timm has no such model."""
        import timm

        if not timm.is_model(name):
            close = get_close_matches(name, timm.list_models(), 3)
            hint = f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""
            text = f"{where}: timm {timm.__version__} has no model {name!r}{hint}"
            raise ConfigError(text, code="unknown-choice", parameter=None if ":" in where else where.strip("`"))

    def preprocess(self, name: str, **overrides: Any) -> Preprocess:
        """Return the preprocessing that timm's default weights of a model were trained with."""
        import timm
        from timm.data import resolve_data_config

        self.check(name)
        return _preprocess(resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict()), overrides)

    def build(self, config: ModelConfig, image_size: Size | None) -> Built:
        """Build the model with its weights, from the hub or a file."""
        from timm.data import resolve_model_data_config

        self.check(config.backbone)
        model, notes = _create(config, image_size)
        preprocess = _preprocess(resolve_model_data_config(model), {})
        safe = not config.backbone.startswith(_ABORTS_IN_CHANNELS_LAST)
        return Built(model, config.backbone, preprocess, notes, channels_last=safe)

    def create(self, name: str, image_size: Size | None) -> nn.Module:
        """Return the model with random weights."""
        return create_at_size(name, image_size, {"num_classes": 0, "pretrained": False})

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


def _create(config: ModelConfig, image_size: Size | None) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the backbone with its weights, and notes on loading them."""
    name, weights, prefix = config.backbone, config.weights, ""
    from_file = isinstance(weights, Path) and not weights.is_dir()  # build_embedder loads a checkpoint's weights
    options: dict[str, Any] = {"num_classes": 0, "pretrained": weights == "pretrained" or from_file}
    if config.pooling not in ("default", "gem"):
        options["global_pool"] = config.pooling
        _check_pooling(name, options)
    if isinstance(weights, Path) and not weights.exists():
        raise CheckpointError(
            f"model.weights: {weights} is neither a file nor a folder", code="missing-file", parameter="model.weights"
        )
    logging.getLogger("timm").setLevel(logging.ERROR)
    try:
        if isinstance(weights, Path) and from_file:
            refuse_pipe(weights)
            options["pretrained_cfg_overlay"], prefix = _weights_source(weights, name)
        from_hub = pretrained_weights(name) if weights == "pretrained" else nullcontext()
        with _record_missing_keys() as missing, from_hub:
            model: nn.Module = create_at_size(name, image_size, options)
    except EmlError:
        raise
    except Exception as error:  # reading a damaged or foreign file raises errors of many types
        if image_size is not None and not _takes(name, image_size):
            raise size_error(name, image_size, error) from error
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if isinstance(weights, Path):
            raise _misfit(weights, name, reason) from error
        raise CheckpointError(
            f"model.weights: the pretrained weights of {name} cannot be loaded ({reason}). "
            "Give a file (model.weights: FILE) or train from scratch (model.weights: none)",
            code="weights-unavailable",
            parameter="model.weights",
        ) from error
    if isinstance(weights, Path) and from_file and (keys := missing()):
        raise _misfit(weights, name, f"{len(keys)} of its tensors are missing in the file, first {keys[0]!r}")
    notes = (f"model.weights: the names in {weights} begin with {prefix}, which was taken away",) if prefix else ()
    return model, notes


def _takes(name: str, image_size: Size) -> bool:
    """Return whether a model can be made for images of a size. The meta device allocates no memory."""
    try:
        with torch.device("meta"):
            create_at_size(name, image_size, {"num_classes": 0, "pretrained": False})
    except Exception:  # an error of any type, depending on the family
        return False
    return True


def _misfit(weights: Path, name: str, reason: str) -> CheckpointError:
    text = f"model.weights: {weights} does not fit {name}: {reason}"
    return CheckpointError(text, code="weights-do-not-fit", parameter="model.weights")


def _check_pooling(name: str, options: dict[str, Any]) -> None:
    """Raise a ConfigError if the family does not support the pooling. The meta device allocates no memory."""
    import timm

    try:
        with torch.device("meta"):
            timm.create_model(name, **options | {"pretrained": False})
    except Exception as error:  # an assertion or a TypeError, depending on the family
        raise ConfigError(
            f"model.pooling: {name} cannot pool by {options['global_pool']!r}; take default, or avg, max, gem for "
            "convolutional networks, token or map for transformers that have them",
            code="unsupported-by-backbone",
            parameter="model.pooling",
        ) from error


def _weights_source(weights: Path, name: str) -> tuple[dict[str, Any], str]:
    """Return timm's settings for loading from a file, and the prefix that was taken from the names in it.

    A .pth is read here with `weights_only`: no code in it runs.
    """
    import timm

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
        names = set(timm.create_model(name, num_classes=0, pretrained=False).state_dict())
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


def create_at_size(name: str, image_size: Size | None, options: dict[str, Any]) -> nn.Module:
    """Create the model, with `img_size` if its family takes it (ViT, Swin, …). Convolutional ones refuse it."""
    import timm

    if image_size is not None:
        try:
            sized: nn.Module = timm.create_model(name, img_size=image_size, **options)
        except TypeError as error:
            if "img_size" not in str(error):
                raise
        else:
            return sized
    plain: nn.Module = timm.create_model(name, **options)
    return plain
