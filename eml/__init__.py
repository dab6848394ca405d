"""Easy Metric Learning: from a folder of images to an embedding model that is measured and ready to use."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eml.inference.load import load
    from eml.inference.model import Model

__all__ = ["Model", "load"]

_MODULES = {"Model": "eml.inference.model", "load": "eml.inference.load"}


def __getattr__(name: str) -> Any:
    """Import `eml.load` and `eml.Model` on first use, so that `import eml` and the command line start quickly."""
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'eml' has no attribute {name!r}")
