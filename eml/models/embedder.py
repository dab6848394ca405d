"""Images → embeddings: a backbone and a neck; and texts into the same space, where the backbone has a text tower."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from eml.allocator import keep_freed_memory
from eml.errors import ConfigError
from eml.images.image_size import Size, height_width, pixel_count
from eml.images.preprocess import Preprocess
from eml.models.backbones import find_family
from eml.models.config import ModelConfig
from eml.models.definitions import with_definition
from eml.models.pooling import put_gem
from eml.models.shapes import shape_of_features, size_error
from eml.models.text_tower import TextTower
from eml.models.weights import load_initial_weights, refuse_not_finite

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
        text: The text tower of the backbone's space; None without one.

    Attributes:
        frozen: The modules that stay in eval mode.
        text: The text tower: a part of the weights, which `forward` does not use.
        preprocess: The preprocessing that the backbone's weights were trained with; None where it was put together by
            hand.
        notes: What to tell of how the weights were loaded, a line each.
        architecture: What decides its function besides its weights, as JSON; empty where it was put together by hand.
    """

    def __init__(
        self,
        backbone: nn.Module,
        neck: nn.Module,
        size: int,
        frozen: Sequence[nn.Module] = (),
        text: TextTower | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.neck, self.size, self.text = backbone, neck, size, text
        self.memory_format = torch.channels_last  # of images and convolutions: faster
        self.frozen = tuple(frozen)
        self.preprocess: Preprocess | None = None
        self.notes: tuple[str, ...] = ()
        self.architecture: dict[str, Any] = {}

    def train(self, mode: bool = True) -> Self:
        """Set training mode for all but the frozen modules, whose BatchNorm statistics stay as they are."""
        super().train(mode)
        for module in self.frozen:
            module.train(False)
        return self

    def train_text(self, mode: bool) -> None:
        """Set whether the text tower is trained; it is not after `build_embedder`. Without one nothing is done."""
        if self.text is None:
            return
        self.text.requires_grad_(mode)
        self.frozen = tuple(module for module in self.frozen if module is not self.text)
        self.frozen += () if mode else (self.text,)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, D)."""
        embeddings: Tensor = self.neck(self.features(images))
        return embeddings

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, F), what the backbone makes of them."""
        pooled: Tensor = self.backbone(images.contiguous(memory_format=self.memory_format))
        return pooled


def build_embedder(config: ModelConfig, image_size: Size | None = None) -> Embedder:
    """Build the network of a config with its weights. The number of features is measured with a forward pass.

    Args:
        config: The backbone, its weights and the neck.
        image_size: Side of the images (pixels) or (height, width), for the families whose weights depend on it.

    Raises:
        ConfigError: The backbone is unknown or does not support a setting.
        CheckpointError: The weights cannot be downloaded or read, or do not fit.
    """
    from timm.layers import convert_sync_batchnorm

    keep_freed_memory()
    config = with_definition(config)
    family = find_family(config.backbone)
    built = family.build(config, image_size)
    backbone = built.module
    if config.pooling == "gem":
        put_gem(backbone, config.backbone)
    if config.gradient_checkpointing:
        _checkpoint_gradients(backbone, config.backbone)
    features = _measure(backbone, config.backbone, image_size or built.preprocess.size)
    neck, size = config.neck.build(features)
    if config.batch_norm == "synced":  # the same as BatchNorm in a single process
        backbone, neck = convert_sync_batchnorm(backbone), convert_sync_batchnorm(neck)
    frozen = _freeze_stages(backbone, config) if config.freeze else []
    if config.batch_norm == "frozen":
        frozen += [module for module in backbone.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    embedder = Embedder(backbone, neck, size, frozen, built.text)
    embedder.train_text(False)
    embedder.notes, embedder.preprocess = built.notes, built.preprocess
    embedder.architecture = config.model_dump(mode="json", include={"pooling", "neck"}) | {"backbone": built.name}
    if built.definition is not None:
        embedder.architecture["definition"] = dict(built.definition)
    if isinstance(config.weights, Path) and config.weights.is_dir():
        load_initial_weights(embedder, built.name, config.weights, family.resample)
    if isinstance(config.weights, Path):
        refuse_not_finite(embedder, f"model.weights: {config.weights}", "model.weights")
    if not built.channels_last or (frozen and has_unsafe_group_norm(backbone)):
        embedder.memory_format = torch.contiguous_format
    return embedder.to(memory_format=embedder.memory_format)


def without_text(embedder: Embedder) -> Embedder:
    """Return a network without its text tower, which shares all other weights; one that has none as it is."""
    if embedder.text is None:
        return embedder
    frozen = [module for module in embedder.frozen if module is not embedder.text]
    plain = Embedder(embedder.backbone, embedder.neck, embedder.size, frozen)
    plain.memory_format, plain.preprocess, plain.notes = embedder.memory_format, embedder.preprocess, embedder.notes
    plain.architecture = dict(embedder.architecture)
    if "definition" in plain.architecture:
        plain.architecture["definition"] = plain.architecture["definition"] | {"text": False}
    return plain.train(embedder.training)


def default_preprocess(embedder: Embedder, **overrides: Any) -> Preprocess:
    """Return the preprocessing that the backbone's weights were trained with. Overrides of None are ignored."""
    assert embedder.preprocess is not None, "build_embedder sets it"
    changes = {key: value for key, value in overrides.items() if value is not None}
    return Preprocess(**embedder.preprocess.model_dump() | changes)


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


def _freeze_stages(backbone: nn.Module, config: ModelConfig) -> list[nn.Module]:
    """Freeze the first stages, as timm groups a model by depth, and return their leaf modules.

    Parameters that belong to no leaf are frozen too: class tokens, position embeddings, scales of layers.
    """
    from timm.models import group_modules, group_parameters

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
    parameters = group_parameters(backbone, matcher(coarse=True))
    for name in (name for stage in sorted(parameters)[: config.freeze] for name in parameters[stage]):
        backbone.get_parameter(name).requires_grad_(False)
    names = [name for stage in sorted(stages)[: config.freeze] for name in stages[stage]]
    return [module for name in names if not list((module := backbone.get_submodule(name)).children())]


def _measure(backbone: nn.Module, name: str, size: Size) -> int:
    """Return the number of features F."""
    training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad():
            features = shape_of_features(backbone, size) if pixel_count(size) > _MEASURED**2 else None
            if features is None:
                features = backbone(torch.zeros(1, 3, *height_width(size)))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise size_error(name, size, error) from error
    backbone.train(training)
    if features.ndim != 2:
        raise ConfigError(
            f"model.backbone: {name} returns features of shape {tuple(features.shape)}, expected (B, F)",
            code="unsupported-by-backbone",
            parameter="model.backbone",
        )
    return int(features.shape[1])
