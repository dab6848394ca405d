"""The backbone families: from a name to a network of images, with its weights and preprocessing."""

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from eml.images.image_size import Size
from eml.images.preprocess import Preprocess
from eml.models.backbones.base import BackboneFamily, Built, find_family, prefixes

if TYPE_CHECKING:
    from torch import nn

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["BackboneFamily", "Built", "check_backbone", "find_family", "prefixes", "preprocess_of", "without_memory"]


def check_backbone(name: str, where: str = "model.backbone") -> None:
    """Raise a ConfigError with suggestions if there is no such backbone.

    Args:
        name: The backbone's name.
        where: The config key or the argument that names it, for the message.
    """
    find_family(name).check(name, where)


def preprocess_of(name: str, **overrides: Any) -> Preprocess:
    """Return the default preprocessing of a backbone by its name, without building it. Overrides of None are ignored.

    Raises:
        ConfigError: The backbone is unknown.
    """
    return find_family(name).preprocess(name, **overrides)


def without_memory(name: str, image_size: Size) -> "nn.Module | None":
    """Return a backbone whose weights take no memory; None where there is no such, or it cannot be made so."""
    import torch

    try:
        with torch.device("meta"):
            return find_family(name).create(name, image_size)
    except Exception:  # an error of any type, depending on the family; the real network gives it again
        return None
