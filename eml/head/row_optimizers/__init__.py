"""The family of optimizers that update some rows of a matrix and leave the other rows and their state as they are."""

from importlib import import_module
from pkgutil import iter_modules

from eml.head.row_optimizers.base import RowOptimizer

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["RowOptimizer"]
