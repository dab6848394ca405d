"""The text encoder family: what turns texts into vectors. A new file here is a new member, without any other edit."""

from importlib import import_module
from pkgutil import iter_modules

from eml.texts.encoders.base import TextEncoder, check_encoder, find_encoder

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["TextEncoder", "check_encoder", "find_encoder"]
