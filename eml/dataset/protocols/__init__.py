"""The protocol family: one file per official protocol, from an unpacked download to tables with its split."""

from importlib import import_module
from pkgutil import iter_modules

from eml.dataset.protocols.base import Protocol, ProtocolTables, TestSet, Work

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Protocol", "ProtocolTables", "TestSet", "Work"]
