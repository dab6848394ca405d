"""The formats of `eml export`. A new file here is a new member, without any other edit."""

from importlib import import_module
from pkgutil import iter_modules

from eml.exporting.formats.base import ExportFormat, FormatSettings, find_format, format_names

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["ExportFormat", "FormatSettings", "find_format", "format_names"]
