"""The family of experiment trackers. None is on unless a config lists it; the run folder has all numbers anyway."""

from importlib import import_module
from pkgutil import iter_modules

from eml.trackers.base import Log, Tracker

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Log", "Tracker"]
