"""The loss family: functions from the class head's per-sample terms to one loss per sample."""

from importlib import import_module
from pkgutil import iter_modules

from eml.losses.base import Loss, Terms

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Loss", "Terms"]
