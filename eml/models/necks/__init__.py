"""The neck family: from the backbone's pooled features to the embedding."""

from importlib import import_module
from pkgutil import iter_modules

from eml.models.necks.base import Neck

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Neck"]
