"""Easy Metric Learning: from a folder of images to an embedding model that is measured and ready to use."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eml.inference.model import Model, load

__all__ = ["Model", "load"]


def __getattr__(name: str) -> Any:
    """`eml.load` and `eml.Model` on first use, so that `import eml` and the command line stay quick."""
    if name in __all__:
        from eml.inference import model

        return getattr(model, name)
    raise AttributeError(f"module 'eml' has no attribute {name!r}")
