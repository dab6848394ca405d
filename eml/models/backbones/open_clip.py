"""Backbones of open_clip: the image tower of a CLIP or SigLIP, with its text tower beside it."""

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from eml.errors import CheckpointError, ConfigError, EmlError
from eml.files import refuse_pipe
from eml.images.image_size import Size, size_text
from eml.images.preprocess import Preprocess
from eml.models.backbones.base import ABORTS_IN_CHANNELS_LAST, BackboneFamily, Built, ListedBackbone
from eml.models.config import ModelConfig, StoredModel
from eml.models.open_clip_names import PREFIX, NamedNetwork
from eml.models.open_clip_network import ImageTower, build_clip, fit_to_size, open_clip, own_size, text_tower
from eml.models.positions import with_positions
from eml.models.shapes import size_error
from eml.models.text_tower import TOKENIZER

_UNLISTED = "coca_"
"""Begins the names of networks that are tied to a decoder of captions."""


class OpenClip(BackboneFamily):
    """`open_clip:ARCH/PRETRAINED`, `open_clip:ARCH`, `open_clip:local-dir:PATH` and `open_clip:hf-hub:OWNER/NAME`.

    The features are the embedding of the image in the space of images and texts, and the text tower is kept.
    """

    prefix: ClassVar[str] = PREFIX
    is_listed_slowly: ClassVar[bool] = True

    def listed(self) -> list[ListedBackbone]:
        """Return the networks with each of their pretrained weights, and those without any; no CoCa."""
        package = open_clip()
        weighted = [(name, tag) for name, tag in package.list_pretrained() if not name.startswith(_UNLISTED)]
        named = {name for name, _ in weighted}
        others = [name for name in package.list_models() if not name.startswith(_UNLISTED) and name not in named]
        return [
            *(ListedBackbone(f"{PREFIX}{name}/{tag}", words=_place(name, tag)) for name, tag in weighted),
            *(ListedBackbone(PREFIX + name, has_weights=False) for name in others),
        ]

    def check(self, name: str, where: str = "model.backbone") -> None:
        """Raise a ConfigError if open_clip is not installed, or has no such network or no such weights of it."""
        NamedNetwork(name, where).check()

    def preprocess(self, name: str, definition: Mapping[str, Any] | None = None, **overrides: Any) -> Preprocess:
        """Return the mean, deviation, interpolation and size that open_clip has for a network."""
        if definition is None:
            self.check(name)
            definition = NamedNetwork(name).definition_of_images
        own = definition["preprocess_cfg"]
        interpolation = own.get("interpolation")
        known = {
            "size": own_size(definition),
            "interpolation": interpolation if interpolation in ("bilinear", "bicubic") else "bicubic",
            "mean": own["mean"],
            "std": own["std"],
        }
        return Preprocess(**known | {key: value for key, value in overrides.items() if value is not None})

    def build(self, config: ModelConfig, image_size: Size | None) -> Built:
        """Build both towers with their weights."""
        _check_pooling(config)
        stored = config if isinstance(config, StoredModel) and config.definition is not None else None
        named = NamedNetwork(config.backbone)
        notes: tuple[str, ...] = ()
        if stored is not None:
            name, definition = config.backbone, stored.definition or {}
            tokenizer: str | Path | None = (stored.folder or Path()) / TOKENIZER
        else:
            named.check()
            name, definition, tokenizer, notes = named.own_name, named.definition, named.tokenizer, named.notes
        with _sized(image_size, config.backbone):
            model = build_clip(definition, image_size)
        if stored is None:
            _load(model, named, config, image_size)
        with _sized(image_size, config.backbone):
            fit_to_size(model, definition, image_size)
        visual: Any = model.visual
        timm_name = definition["model_cfg"]["vision_cfg"].get("timm_model_name") or ""
        return Built(
            ImageTower(visual),
            name,
            self.preprocess(name, definition),
            notes,
            text_tower(model, definition, tokenizer, config.backbone),
            channels_last=not timm_name.startswith(ABORTS_IN_CHANNELS_LAST),
            definition=definition,
        )

    def create(self, name: str, image_size: Size | None, definition: Mapping[str, Any] | None = None) -> nn.Module:
        """Return the image tower with random weights."""
        if definition is None:
            self.check(name)
            definition = NamedNetwork(name).definition_of_images
        definition = {**definition, "text": False}
        model: Any = build_clip(definition, image_size)
        fit_to_size(model, definition, image_size)
        return ImageTower(model.visual)

    def resample(self, tensors: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor] | None:
        """Return weights whose position embeddings are resampled, as open_clip or timm does it."""
        from open_clip.model import resize_pos_embed

        visual: Any = module.visual
        if not hasattr(visual, "trunk"):
            if not hasattr(visual, "grid_size"):
                return None
            tensors = dict(tensors)
            with _without_root_handler():
                resize_pos_embed(tensors, module)
            return tensors
        resample = getattr(sys.modules[type(visual.trunk).__module__], "checkpoint_filter_fn", None)
        if resample is None:
            return None
        prefix = "visual.trunk."
        trunk = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        others = {name: tensor for name, tensor in tensors.items() if not name.startswith(prefix)}
        return others | {prefix + name: tensor for name, tensor in resample(trunk, visual.trunk).items()}


def _check_pooling(config: ModelConfig) -> None:
    if config.pooling != "default":
        raise ConfigError(
            f"model.pooling: {config.backbone} pools as it was trained, else images and texts are in no common "
            f"space; take default, got {config.pooling!r}",
            code="unsupported-by-backbone",
            parameter="model.pooling",
        )


@contextmanager
def _sized(image_size: Size | None, name: str) -> Iterator[None]:
    """Make the error of a network that takes no images of a size one that says so."""
    try:
        yield
    except (AssertionError, RuntimeError, ValueError) as error:
        if image_size is None:
            raise
        raise size_error(name, image_size, error) from error


def _place(name: str, tag: str) -> str:
    """Return the place of weights in the hub."""
    return str(open_clip().get_pretrained_cfg(name, tag).get("hf_hub", ""))


def _load(model: nn.Module, named: NamedNetwork, config: ModelConfig, image_size: Size | None) -> None:
    """Load the weights that a config says into a network; those of a checkpoint of eml come later."""
    weights = config.weights
    if weights == "none" or (isinstance(weights, Path) and weights.is_dir()):
        return
    if isinstance(weights, Path) and not weights.exists():
        text = f"model.weights: {weights} is neither a file nor a folder"
        raise CheckpointError(text, code="missing-file", parameter="model.weights")
    try:
        file = weights if isinstance(weights, Path) else named.weights()
        refuse_pipe(file)
        with _without_root_handler():
            open_clip().load_checkpoint(model, str(file), strict=True)
        if not hasattr(model.visual, "trunk"):  # of as many patches in another shape it changes no place
            model.load_state_dict(with_positions(model.state_dict(), model, own_size(named.definition)))
    except EmlError:
        raise
    except Exception as error:  # reading a damaged or foreign file raises errors of many types
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        reason = " ".join(lines[:2]) if lines[0].startswith("Error(s) in loading") else lines[0]
        own = own_size(named.definition)
        hint = "" if image_size in (None, own) else f"; its weights are for images of {size_text(own)} pixels"
        source = weights if isinstance(weights, Path) else f"the pretrained weights of {named.name}"
        text = f"model.weights: {source} cannot be loaded into {named.name}: {reason}{hint}"
        raise CheckpointError(text, code="weights-do-not-fit", parameter="model.weights") from error


@contextmanager
def _without_root_handler() -> Iterator[None]:
    """Keep open_clip's `logging.info` from giving the root logger a handler, which would print the logs of others."""
    handler = logging.NullHandler()
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
