"""The backbone families: from a name to a network of images, with its weights and preprocessing."""

import re
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from eml.images.image_size import Size
from eml.images.preprocess import Preprocess
from eml.models.backbones.base import BackboneFamily, Built, ListedBackbone, families, find_family, prefixes
from eml.models.config import ModelConfig, StoredModel
from eml.models.definitions import with_definition

if TYPE_CHECKING:
    from torch import nn

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "BackboneFamily",
    "Built",
    "ListedBackbone",
    "check_backbone",
    "create_backbone",
    "families",
    "find_family",
    "prefixes",
    "preprocess_of",
    "without_memory",
    "word_for_files",
]


def check_backbone(backbone: str | ModelConfig, where: str = "model.backbone") -> None:
    """Raise a ConfigError with suggestions if there is no such backbone.

    Args:
        backbone: The backbone's name; or the network of a config, whose weights may be a checkpoint that defines it.
        where: The config key or the argument that names it, for the message.
    """
    name, definition = name_and_definition(backbone)
    if not definition:
        find_family(name).check(name, where)


def preprocess_of(backbone: str | ModelConfig, **overrides: Any) -> Preprocess:
    """Return the default preprocessing of a backbone by its name, without building it. Overrides of None are ignored.

    Args:
        backbone: The backbone's name; or the network of a config, whose weights may be a checkpoint that defines it.
        overrides: Settings of the preprocessing.

    Raises:
        ConfigError: The backbone is unknown.
    """
    name, definition = name_and_definition(backbone)
    return find_family(name).preprocess(name, **definition, **overrides)


def word_for_files(name: str) -> str:
    """Return a backbone's name as a part of a file's name, in which neither slashes nor colons may be."""
    return re.sub(r"[^\w.=+-]+", "_", name)


def create_backbone(backbone: str | ModelConfig, image_size: Size | None) -> "nn.Module":
    """Return a backbone with random weights, for images of this side (pixels).

    Under torch's meta device it takes no memory. Raises errors of any type for a size that it does not take.
    """
    name, definition = name_and_definition(backbone)
    return find_family(name).create(name, image_size, **definition)


def without_memory(model: ModelConfig, image_size: Size) -> "nn.Module | None":
    """Return a backbone whose weights take no memory; None where there is no such, or it cannot be made so."""
    import torch

    try:
        with torch.device("meta"):
            return create_backbone(model, image_size)
    except Exception:  # an error of any type, depending on the family; the real network gives it again
        return None


def name_and_definition(backbone: str | ModelConfig) -> tuple[str, dict[str, Any]]:
    """Return the name, and the argument `definition` if there is one: families without definitions need not take it."""
    if isinstance(backbone, str):
        return backbone, {}
    model = with_definition(backbone)
    definition = model.definition if isinstance(model, StoredModel) else None
    return model.backbone, {} if definition is None else {"definition": definition}
