"""The mix family: from a batch of images to one in which each is mixed with another."""

from importlib import import_module
from pkgutil import iter_modules

from eml.images.mixes.base import Mix, Mixed

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Mix", "Mixed"]
