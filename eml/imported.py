"""Packages that are imported already, and packages that are missing."""

import importlib.util
import sys

_PACKAGES = {"PIL": "pillow", "yaml": "pyyaml", "sklearn": "scikit-learn", "cv2": "opencv-python-headless"}
"""Module → its package, where the names differ."""


def is_imported(package: str) -> bool:
    """Return whether a package was imported in this process."""
    return sys.modules.get(package) is not None  # None: its import is forbidden


def missing_package(error: ModuleNotFoundError) -> str | None:
    """Return the line on a package that is not installed, None where the module is eml's own or its package is there.

    A package can be there without the module: of another version than eml knows.
    """
    root = (error.name or "eml").partition(".")[0]
    if root == "eml" or importlib.util.find_spec(root) is not None:
        return None
    package = _PACKAGES.get(root, root)
    return (
        f"eml needs {package} for this, which is not installed: pip install {package}, or "
        f"pip install easy-metric-learning for everything that eml needs ({sys.executable})"
    )
