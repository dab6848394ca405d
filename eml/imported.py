"""Packages that take seconds to import, and are used where something else has imported them already."""

import sys


def is_imported(package: str) -> bool:
    """Return whether a package was imported in this process."""
    return sys.modules.get(package) is not None  # None: its import is forbidden
