"""Packages that run an exported file, by its suffix. A new file here is a new member, without any other edit."""

from importlib import import_module
from pkgutil import iter_modules

from eml.inference.exported.runtimes.base import Runtime, find_runtime, suffixes

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Runtime", "find_runtime", "suffixes"]
