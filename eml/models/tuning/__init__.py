"""The tune family: which of the backbone's weights are trained."""

from importlib import import_module
from pkgutil import iter_modules

from eml.models.tuning.base import Tune

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Tune"]
