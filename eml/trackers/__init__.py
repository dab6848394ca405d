"""The family of experiment trackers. A run uses those that its config lists; the run folder has all numbers anyway."""

from importlib import import_module
from pkgutil import iter_modules

from eml.trackers.base import Tracker, TrackerLog

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Tracker", "TrackerLog"]
