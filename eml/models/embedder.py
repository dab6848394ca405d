"""Images → embeddings: a timm backbone and a neck."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from difflib import get_close_matches
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Self

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook
from torch.utils.hooks import RemovableHandle

from eml.allocator import keep_freed_memory
from eml.errors import CheckpointError, ConfigError, EmlError
from eml.files import refuse_pipe
from eml.images.preprocess import Preprocess
from eml.models.config import ModelConfig
from eml.models.hub import pretrained_weights
from eml.models.pooling import put_gem
from eml.models.shapes import shape_of_features
from eml.models.weights import load_initial_weights, refuse_not_finite, weights_without_prefix

# Training these in channels_last on a CPU corrupts the heap in torch 2.14, which ends the process without an error.
_ABORTS_IN_CHANNELS_LAST = ("fastvit", "mobileone", "repvgg")
# In torch 2.6 GroupNorm with a frozen input ends the process in channels_last; 2.14 trains it. Versions in between are
# untested.
_TRAINS_FROZEN_GROUP_NORM = (2, 14)
_MEASURED = 512  # pixels; for larger images a forward pass may take gigabytes


class Embedder(nn.Module):
    """Normalised pixels (B, 3, H, W) → embeddings (B, D), not yet of unit length.

    Args:
        backbone: Maps images to pooled features (B, F).
        neck: Maps pooled features to embeddings.
        size: The embedding size D.
        frozen: Modules that stay in eval mode while the others train.

    Attributes:
        frozen: The modules that stay in eval mode.
        notes: What to tell of how the weights were loaded, a line each.
        architecture: What decides its function besides its weights, as JSON; empty where it was put together by hand.
    """

    def __init__(self, backbone: nn.Module, neck: nn.Module, size: int, frozen: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.backbone, self.neck, self.size = backbone, neck, size
        self.memory_format = torch.channels_last  # of images and convolutions: faster
        self.frozen = tuple(frozen)
        self.notes: tuple[str, ...] = ()
        self.architecture: dict[str, Any] = {}

    def train(self, mode: bool = True) -> Self:
        """Set training mode for all but the frozen modules, whose BatchNorm statistics stay as they are."""
        super().train(mode)
        for module in self.frozen:
            module.train(False)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, D)."""
        embeddings: Tensor = self.neck(self.features(images))
        return embeddings

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, F), what the backbone makes of them."""
        pooled: Tensor = self.backbone(images.contiguous(memory_format=self.memory_format))
        return pooled


def build_embedder(config: ModelConfig, image_size: int | None = None) -> Embedder:
    """Build the network of a config with its weights. The number of features is measured with a forward pass.

    Args:
        config: The backbone, its weights and the neck.
        image_size: Side of the square images (pixels), for the families whose weights depend on it.

    Raises:
        ConfigError: The backbone is unknown or does not support a setting.
        CheckpointError: The weights cannot be downloaded or read, or do not fit.
    """
    from timm.layers import convert_sync_batchnorm

    keep_freed_memory()
    backbone, notes = _create(config, image_size)
    if config.pooling == "gem":
        put_gem(backbone, config.backbone)
    if config.gradient_checkpointing:
        _checkpoint_gradients(backbone, config.backbone)
    features = _measure(backbone, config.backbone, image_size)
    neck, size = config.neck.build(features)
    if config.batch_norm == "synced":  # the same as BatchNorm in a single process
        backbone, neck = convert_sync_batchnorm(backbone), convert_sync_batchnorm(neck)
    frozen = _frozen_stages(backbone, config) if config.freeze else []
    for module in frozen:
        module.requires_grad_(False)
    if config.batch_norm == "frozen":
        frozen += [module for module in backbone.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    embedder = Embedder(backbone, neck, size, frozen)
    embedder.notes = notes
    embedder.architecture = config.model_dump(mode="json", include={"backbone", "pooling", "neck"})
    if isinstance(config.weights, Path) and config.weights.is_dir():
        load_initial_weights(embedder, config.backbone, config.weights)
    if isinstance(config.weights, Path):
        refuse_not_finite(embedder, f"model.weights: {config.weights}", "model.weights")
    if config.backbone.startswith(_ABORTS_IN_CHANNELS_LAST) or (frozen and has_unsafe_group_norm(backbone)):
        embedder.memory_format = torch.contiguous_format
    return embedder.to(memory_format=embedder.memory_format)


def has_unsafe_group_norm(backbone: nn.Module) -> bool:
    """Return whether training it with frozen layers in channels_last would end the process."""
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    return version < _TRAINS_FROZEN_GROUP_NORM and any(
        isinstance(module, nn.GroupNorm) for module in backbone.modules()
    )


def _checkpoint_gradients(backbone: nn.Module, name: str) -> None:
    try:
        backbone.set_grad_checkpointing(True)  # type: ignore[operator]
    except (AttributeError, AssertionError) as error:
        raise ConfigError(
            f"model.gradient_checkpointing: timm does not support it for {name}; set it to false",
            code="unsupported-by-backbone",
            parameter="model.gradient_checkpointing",
        ) from error


def _frozen_stages(backbone: nn.Module, config: ModelConfig) -> list[nn.Module]:
    """Return the leaf modules of the first stages, as timm groups a model by depth."""
    from timm.models import group_modules

    matcher = getattr(backbone, "group_matcher", None)
    if matcher is None:
        raise ConfigError(
            f"model.freeze: timm does not define the stages of {config.backbone}; use freeze: 0",
            code="unsupported-by-backbone",
            parameter="model.freeze",
        )
    stages = group_modules(backbone, matcher(coarse=True))
    if config.freeze >= len(stages):
        raise ConfigError(
            f"model.freeze must be at most {len(stages) - 1}, since {config.backbone} has {len(stages)} stages, "
            f"got {config.freeze}. To train the class weights alone set optimizer.lr.backbone: 0",
            code="out-of-range",
            parameter="model.freeze",
        )
    names = [name for stage in sorted(stages)[: config.freeze] for name in stages[stage]]
    return [module for name in names if not list((module := backbone.get_submodule(name)).children())]


def default_preprocess(backbone: nn.Module, **overrides: Any) -> Preprocess:
    """Return the preprocessing that the backbone's weights were trained with. Overrides of None are ignored."""
    from timm.data import resolve_model_data_config

    return _preprocess(resolve_model_data_config(backbone), overrides)


def preprocess_of(name: str, **overrides: Any) -> Preprocess:
    """Return the default preprocessing of a backbone by its name, without building it.

    Raises:
        ConfigError: The backbone is unknown.
    """
    import timm
    from timm.data import resolve_data_config

    check_backbone(name)
    return _preprocess(resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict()), overrides)


def _preprocess(own: dict[str, Any], overrides: dict[str, Any]) -> Preprocess:
    known = {
        "size": own["input_size"][-1],
        "interpolation": own["interpolation"]
        if own["interpolation"] in ("bilinear", "bicubic", "lanczos")
        else "bicubic",
        "mean": own["mean"],
        "std": own["std"],
    }
    return Preprocess(**known | {key: value for key, value in overrides.items() if value is not None})


def check_backbone(name: str, where: str = "model.backbone") -> None:
    """Raise a ConfigError with suggestions if timm has no such model.

    Args:
        name: The name of the model.
        where: The config key or the argument that names it, for the message.
    """
    import timm

    if not timm.is_model(name):
        close = get_close_matches(name, timm.list_models(), 3)
        hint = f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""
        text = f"{where}: timm {timm.__version__} has no model {name!r}{hint}"
        raise ConfigError(text, code="unknown-choice", parameter=None if ":" in where else where.strip("`"))


def _create(config: ModelConfig, image_size: int | None) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the backbone with its weights, and notes on loading them."""
    name, weights, prefix = config.backbone, config.weights, ""
    check_backbone(name)
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


def create_at_size(name: str, image_size: int | None, options: dict[str, Any]) -> nn.Module:
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


def without_memory(name: str, image_size: int) -> nn.Module | None:
    """Return a backbone whose weights take no memory; None where there is no such, or it cannot be made so."""
    try:
        with torch.device("meta"):
            return create_at_size(name, image_size, {"num_classes": 0, "pretrained": False})
    except Exception:  # an error of any type, depending on the family; the real network gives it again
        return None


def _measure(backbone: nn.Module, name: str, image_size: int | None) -> int:
    """Return the number of features F."""
    from timm.data import resolve_model_data_config

    side = image_size or resolve_model_data_config(backbone)["input_size"][-1]
    training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad():
            features = shape_of_features(backbone, side) if side > _MEASURED else None
            if features is None:
                features = backbone(torch.zeros(1, 3, side, side))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ConfigError(
            f"model.backbone: {name} cannot take images of {side}×{side} pixels: {error}",
            code="unsupported-by-backbone",
            parameter="model.backbone",
        ) from error
    backbone.train(training)
    if features.ndim != 2:
        raise ConfigError(
            f"model.backbone: {name} returns features of shape {tuple(features.shape)}, expected (B, F)",
            code="unsupported-by-backbone",
            parameter="model.backbone",
        )
    return int(features.shape[1])
