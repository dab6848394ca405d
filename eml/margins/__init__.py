"""The margin family: one file per margin, pure maths. A new file here is a new member, without any other edit."""

from importlib import import_module
from pkgutil import iter_modules

from eml.margins.base import Context, Margin, Prototypes, Statistics

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Context", "Margin", "Prototypes", "Statistics"]
