"""Which folder of images a file may name that lies beside them: none that its user has not given on this machine.

A sidecar, or the facts of a run, can come from anybody along with a table. Names of images are kept within the root,
so whoever chooses the root chooses which files of the disk are read.
"""

import os
from pathlib import Path

from eml.files import is_within, moved_along, real_path
from eml.storage import common_place, is_remote, place_below


def present_root(recorded: str, folder_then: str | None, folder: Path) -> Path:
    """Return where a recorded root is now: where it was moved or copied with its folder, there.

    Args:
        recorded: The root, absolute or relative to `folder`.
        folder_then: The folder of the file when it recorded the root, None if it did not say.
        folder: The folder of the file now.
    """
    root = place_below(folder, recorded)
    if (
        is_remote(root)
        or is_remote(folder)
        or folder_then is None
        or not Path(recorded).is_absolute()
        or was_written_in(folder, folder_then)
    ):
        return root
    along = moved_along(root, Path(folder_then), real_path(folder))
    return along if along.exists() else root


def was_written_in(folder: Path, folder_then: str | None) -> bool:
    """Return whether a file says to have been written in the very folder in which it is."""
    return folder_then is not None and real_path(Path(folder_then)) == real_path(folder)


def is_own_root(root: Path, recorded: str, folder_then: str | None, folder: Path) -> bool:
    """Return whether a present root may be read because a file in `folder` records it.

    A remote root is one where the file was written in this very folder, or where both lie in one remote place: its
    address is a request to a host, made with the credentials of whoever reads the table.

    That is so where the file was written in this very folder; where the root lies in the folder; and where it holds
    the folder or was moved with it, unless the two have only the user's home or a folder above it in common.
    """
    if was_written_in(folder, folder_then) or is_within(root, folder):
        return True
    if is_remote(root):
        return is_within(folder, root)
    moved = Path(recorded).is_absolute() and root != Path(os.path.normpath(recorded))
    if not moved and not is_within(folder, root):
        return False
    try:
        shared = common_place([real_path(root), real_path(folder)])
    except ValueError:  # of two drives
        return False
    return shared.parent != shared and not is_within(Path(os.path.expanduser("~")), shared)  # noqa: PTH111


def root_line(root: Path, folder_then: str | None, folder: Path) -> str | None:
    """Return the line that tells a recorded root, None where it goes without saying.

    It does for the file's own folder and for a folder around it, if the file was written here.
    """
    if real_path(root) == real_path(folder) or (was_written_in(folder, folder_then) and is_within(folder, root)):
        return None
    return f"images: those of {root}"
