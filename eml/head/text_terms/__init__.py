"""The ways in which class texts act on a training. A new file here is a new member, without any other edit."""

from importlib import import_module
from pkgutil import iter_modules

from eml.head.text_terms.base import TextTerm

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["TextTerm"]
