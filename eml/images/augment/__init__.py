"""The family of training augmentations. A new file here adds a member; nothing else needs an edit."""

from importlib import import_module
from pkgutil import iter_modules

from eml.images.augment._augmenter import Augmenter, PixelTransform
from eml.images.augment.base import Augment

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Augment", "Augmenter", "PixelTransform"]
