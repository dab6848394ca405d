"""Images → embeddings: a timm backbone and a neck."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import timm
import torch
from timm.data import resolve_data_config, resolve_model_data_config
from timm.layers import convert_sync_batchnorm
from timm.models import group_modules
from torch import Tensor, nn

from eml.errors import CheckpointError, ConfigError
from eml.images.preprocess import Preprocess
from eml.models.config import ModelConfig
from eml.models.pooling import put_gem
from eml.models.weights import take_weights

# Training these in channels_last corrupts the heap of torch 2.14 on a CPU, which ends the process without an error.
_ABORTS_IN_CHANNELS_LAST = ("fastvit", "mobileone", "repvgg")
# Of torch 2.6 it ends the process where GroupNorm gets something frozen; 2.14 trains these. In between was not tried.
_TRAINS_FROZEN_GROUP_NORM = (2, 14)


class Embedder(nn.Module):
    """Normalised pixels (B, 3, H, W) → embeddings (B, D), not yet of unit length."""

    def __init__(self, backbone: nn.Module, neck: nn.Module, size: int, still: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.backbone, self.neck, self.size = backbone, neck, size
        self.memory_format = torch.channels_last  # of images and convolutions: faster
        self._still = tuple(still)  # modules that stay in eval mode while the others train

    def train(self, mode: bool = True) -> Self:
        """Training mode, but for what was frozen: its BatchNorm statistics do not move either."""
        super().train(mode)
        for module in self._still:
            module.train(False)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """(B, D)."""
        embeddings: Tensor = self.neck(self.backbone(images.contiguous(memory_format=self.memory_format)))
        return embeddings


def build_embedder(config: ModelConfig, image_size: int | None = None) -> Embedder:
    """The network of a config, with its weights. The size of the features is measured, not looked up.

    image_size: side of the square it will see (pixels), for the families whose weights depend on it.
    Raises ConfigError for an unknown backbone, CheckpointError for weights that cannot be had or do not fit.
    """
    backbone = _create(config, image_size)
    if config.pooling == "gem":
        put_gem(backbone, config.backbone)
    if config.gradient_checkpointing:
        _checkpoint_gradients(backbone, config.backbone)
    features = _measure(backbone, config.backbone, image_size)
    neck, size = config.neck.build(features)
    if config.batch_norm == "synced":  # by one process alone the same as BatchNorm
        backbone, neck = convert_sync_batchnorm(backbone), convert_sync_batchnorm(neck)
    still = _frozen_stages(backbone, config) if config.freeze else []
    for module in still:
        module.requires_grad_(False)
    if config.batch_norm == "frozen":
        still += [module for module in backbone.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    embedder = Embedder(backbone, neck, size, still)
    if isinstance(config.weights, Path) and config.weights.is_dir():
        take_weights(embedder, config.backbone, config.weights)
    if config.backbone.startswith(_ABORTS_IN_CHANNELS_LAST) or (still and _has_unsafe_group_norm(backbone)):
        embedder.memory_format = torch.contiguous_format
    return embedder.to(memory_format=embedder.memory_format)


def _has_unsafe_group_norm(backbone: nn.Module) -> bool:
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    return version < _TRAINS_FROZEN_GROUP_NORM and any(isinstance(each, nn.GroupNorm) for each in backbone.modules())


def _checkpoint_gradients(backbone: nn.Module, name: str) -> None:
    try:
        backbone.set_grad_checkpointing(True)  # type: ignore[operator]
    except (AttributeError, AssertionError) as error:
        raise ConfigError(f"model.gradient_checkpointing: {name} has none in timm; set it to false") from error


def _frozen_stages(backbone: nn.Module, config: ModelConfig) -> list[nn.Module]:
    """The modules without children of the first stages, in timm's own grouping of a model by depth."""
    matcher = getattr(backbone, "group_matcher", None)
    if matcher is None:
        raise ConfigError(f"model.freeze: timm does not say what the stages of {config.backbone} are; use freeze: 0")
    stages = group_modules(backbone, matcher(coarse=True))
    if config.freeze >= len(stages):
        raise ConfigError(
            f"model.freeze: {config.backbone} has {len(stages)} stages, so at most {len(stages) - 1} can stay as they "
            f"are, got {config.freeze}. To train class weights alone set optimizer.lr.backbone: 0"
        )
    names = [name for stage in sorted(stages)[: config.freeze] for name in stages[stage]]
    return [module for name in names if not list((module := backbone.get_submodule(name)).children())]


def default_preprocess(backbone: nn.Module, **overrides: Any) -> Preprocess:
    """The preprocessing that the backbone's weights were trained with; `overrides` that are None count as not given."""
    return _preprocess(resolve_model_data_config(backbone), overrides)


def preprocess_of(name: str, **overrides: Any) -> Preprocess:
    """The same by the backbone's name, without building it. Raises ConfigError for an unknown one."""
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
    """Raises ConfigError, with suggestions, when timm has no such model. where: it was asked for."""
    if not timm.is_model(name):
        close = get_close_matches(name, timm.list_models(), 3)
        hint = f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""
        raise ConfigError(f"{where}: timm {timm.__version__} has no model {name!r}{hint}")


def _create(config: ModelConfig, image_size: int | None) -> nn.Module:
    name, weights = config.backbone, config.weights
    check_backbone(name)
    from_file = isinstance(weights, Path) and not weights.is_dir()  # a checkpoint's weights come when all is built
    options: dict[str, Any] = {"num_classes": 0, "pretrained": weights == "pretrained" or from_file}
    if config.pooling not in ("default", "gem"):
        options["global_pool"] = config.pooling
        _check_pooling(name, options)
    if isinstance(weights, Path) and not weights.exists():
        raise CheckpointError(f"model.weights: {weights} is no file and no folder")
    logging.getLogger("timm").setLevel(logging.ERROR)
    try:
        if isinstance(weights, Path) and from_file:
            options["pretrained_cfg_overlay"] = _source(weights)
        with _loads_recorded() as missing:
            model: nn.Module = _create_at(name, image_size, options)
    except Exception as error:  # a damaged or foreign file raises whatever its reader trips over
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if isinstance(weights, Path):
            raise CheckpointError(f"model.weights: {weights} does not fit {name}: {first}") from error
        raise CheckpointError(
            f"model.weights: the pretrained weights of {name} cannot be had ({first}). "
            "Give a file (model.weights: FILE) or train from scratch (model.weights: none)"
        ) from error
    if from_file and missing:
        raise CheckpointError(
            f"model.weights: {weights} does not fit {name}: {len(missing)} of its tensors are missing in the file, "
            f"first {missing[0]!r}"
        )
    return model


def _check_pooling(name: str, options: dict[str, Any]) -> None:
    """Raises ConfigError where the family does not allow it; on the meta device, so that nothing is allocated."""
    try:
        with torch.device("meta"):
            timm.create_model(name, **options | {"pretrained": False})
    except Exception as error:  # an assertion or a TypeError, as each family has it
        raise ConfigError(
            f"model.pooling: {name} cannot pool by {options['global_pool']!r}; take default, or avg, max, gem for "
            "convolutional networks, token or map for transformers that have them"
        ) from error


def _source(weights: Path) -> dict[str, Any]:
    """Where timm takes a file's tensors from. A .pth is read here, so that no code in it can ever run."""
    if weights.suffix == ".safetensors":
        return {"file": str(weights)}
    loaded = torch.load(weights, map_location="cpu", weights_only=True)
    return {"state_dict": loaded.get("state_dict", loaded.get("model", loaded))}


@contextmanager
def _loads_recorded() -> Iterator[list[str]]:
    """Yields the names of tensors that loading leaves at random.

    timm loads a backbone without classifier non-strictly, so a file of another architecture would pass without a word.
    """
    missing: list[str] = []
    load = nn.Module.load_state_dict

    def recorded(module: nn.Module, *args: Any, **options: Any) -> Any:
        result = load(module, *args, **options)
        missing.extend(result.missing_keys)
        return result

    with patch.object(nn.Module, "load_state_dict", recorded):
        yield missing


def _create_at(name: str, image_size: int | None, options: dict[str, Any]) -> nn.Module:
    """With img_size where the family takes it (ViT, Swin, …); convolutional ones refuse the argument."""
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


def _measure(backbone: nn.Module, name: str, image_size: int | None) -> int:
    side = image_size or resolve_model_data_config(backbone)["input_size"][-1]
    training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad():
            features = backbone(torch.zeros(1, 3, side, side))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ConfigError(f"model.backbone: {name} cannot take images of {side}×{side} pixels: {error}") from error
    backbone.train(training)
    if features.ndim != 2:
        raise ConfigError(f"model.backbone: {name} gives features of shape {tuple(features.shape)}, expected (B, F)")
    return int(features.shape[1])
