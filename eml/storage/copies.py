"""Folders of few files at an address, such as an index or a checkpoint: fetched whole, checked, and opened here."""

import os
import shlex
from pathlib import Path

from eml.errors import DataError
from eml.storage.object_cache import cache_settings
from eml.storage.remote_path import RemotePath, as_place
from eml.storage.upload import SOURCE, fetch


def local_copy(place: str | os.PathLike[str]) -> Path:
    """Return a local path as it is, and of an address the local copy of what `eml upload` put there.

    The copy lies in the cache's folder, under the digest of what the address holds, so that it is fetched once, and
    another version is another copy. The address may be the folder of a copy, or a file in it.

    Raises:
        ValueError: The address is not one that is read; the text continues the parameter's name.
        DataError: There is no whole copy at the address, or a file of it is damaged.
        OSError: It cannot be fetched.
    """
    path = as_place(place)
    if not isinstance(path, RemotePath):
        return path
    folder = cache_settings().folder / "copies"
    try:
        return fetch(path, folder)
    except DataError:
        if not path.suffix or len(path.parts) < 4:
            raise
        try:
            file = fetch(path.parent, folder) / path.name
        except (DataError, OSError):
            file = None
        if file is None or not file.is_file():
            raise
        return file


def copied_from(folder: Path) -> str | None:
    """Return the address of which a folder is the local copy, None for any other folder."""
    try:
        return (folder.absolute().parent / SOURCE).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def advice_to_change(address: str) -> str:
    """Return how what eml wrote at an address is changed, such as an index."""
    command = f"eml upload FOLDER --to {shlex.quote(address)}"
    return f"copy the folder to a local disk, change it there, and copy it back: {command}"
