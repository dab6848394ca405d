"""The sampler family: which images form a batch, and how often each image is used."""

from importlib import import_module
from pkgutil import iter_modules

from eml.images.samplers.base import Classes, RowIndices, Sampler, epoch_generator

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Classes", "RowIndices", "Sampler", "epoch_generator"]
