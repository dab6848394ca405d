"""The names by which a file of `eml export` is told from a checkpoint."""

import os
from pathlib import Path

from eml.inference.exported.runtimes import suffixes

FAILED = ".failed"
"""The suffix behind the other one of a file whose proof failed."""


def is_exported(name: str | os.PathLike[str]) -> bool:
    """Return whether a name is that of an exported file, also of one whose proof failed, and not of a folder."""
    path = Path(name)
    own = path.with_suffix("") if path.suffix.lower() == FAILED else path
    return own.suffix.lower() in suffixes() and not path.is_dir()
