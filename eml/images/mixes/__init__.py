"""The mix family: each image of a batch is mixed with another image of the batch."""

from importlib import import_module
from pkgutil import iter_modules

from eml.images.mixes.base import Mix, Mixed

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Mix", "Mixed"]
