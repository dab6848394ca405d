"""Turn a root and the file name in a table into the path to read: the one place that does."""

import os
import re
from functools import lru_cache
from pathlib import Path

from eml.files import NO_PATH, is_path, is_utf8
from eml.images.identify import ImageError
from eml.storage import is_remote

# A component "..", a leading "/", a drive: none of them stays under the root (backslashes, for tables from Windows).
LEAVES_ROOT = r"^/|^\\|^[A-Za-z]:[\\/]|(?:^|[/\\])\.\.(?:$|[/\\])"
_leaves_root = re.compile(LEAVES_ROOT).search

OUTSIDE = "a link that leads out of the dataset; put a copy here to use it"


def image_path(root: Path, name: str) -> Path:
    """Return the path of an image by its name relative to the root.

    A link within the root is followed as long as it ends within it.

    Raises:
        ImageError: The name is absolute or has `..`, or a link leads out of the root.
    """
    path = root / name
    if _leaves_root(name):
        raise ImageError(path, "outside_dataset", "must stay under the root: relative and without '..'")
    if not is_image_name(name):
        raise ImageError(path, "missing", NO_PATH)
    if not stays_within(root, name):
        raise ImageError(path, "outside_dataset", OUTSIDE)
    return path


def stays_below(name: str) -> bool:
    """Return whether a file can have this name, and whether it is below the folder that it is relative to.

    Links are not looked at.
    """
    return is_image_name(name) and not _leaves_root(name)


def is_image_name(name: str) -> bool:
    """Return whether a file can have this name, and a table can hold it: it is UTF-8."""
    return is_utf8(name) and is_path(name)


def stays_within(root: Path, name: str) -> bool:
    """Return whether no link on the way from the root to this file leads out of the root."""
    if is_remote(root):  # which has no links
        return True
    folder, _, last = f"{root}/{name}".rpartition("/")
    if not _folder_within(str(root), folder):
        return False
    path = f"{folder}/{last}"
    if not os.path.islink(path):  # noqa: PTH114 - a Path for each of a million is slow
        return True
    return _is_within(os.path.realpath(root), os.path.realpath(path))


@lru_cache(4096)
def _folder_within(root: str, folder: str) -> bool:
    return _is_within(os.path.realpath(root), os.path.realpath(folder))


def _is_within(root: str, path: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")
