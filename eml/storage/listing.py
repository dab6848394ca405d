"""Listings of remote folders: all objects below one, by few requests, with their sizes and versions."""

import errno
import os
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from eml.errors import DataError
from eml.storage.file_systems import IN_FLIGHT, file_system, location
from eml.storage.objects import ObjectInfo, info_of, object_info
from eml.storage.remote_path import RemotePath
from eml.storage.retries import with_retries

FRESH = 60.0
"""Seconds for which a listing counts as what is there now."""
_FEW = 4_000  # files that are asked for one by one where no listing is at hand
_kept: dict[tuple[int, str], tuple[float, dict[str, ObjectInfo]]] = {}
_lock = threading.Lock()


def _forget() -> None:
    """Forget in a forked process what its parent knows, with a lock that another of its threads may have held."""
    global _lock
    _lock = threading.Lock()
    _kept.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def refuse_http(folder: RemotePath) -> None:
    """Raise a DataError for a folder of a web server, which does not list its files."""
    if folder.scheme in ("https", "http"):
        text = f"{folder}: the files of a web server cannot be listed. Give a table of them with the column file_name, "
        text += f"relative to the address, and `root={folder}`"
        raise DataError(text, code="not-listed", parameter="dataset")


def list_objects(folder: RemotePath) -> dict[str, ObjectInfo]:
    """Return the facts of each object below a folder, by its name relative to it, sorted; folders end in `/`.

    Raises:
        OSError: It cannot be listed.
        DataError: It is of a web server, or a package is missing.
    """
    refuse_http(folder)
    begin = time.monotonic()
    system, place = file_system(folder), location(folder)
    prefix = place.strip("/") + "/"
    objects: dict[str, ObjectInfo] = {}
    entries: Mapping[str, dict[str, object]] = with_retries(
        lambda: system.find(place, withdirs=True, detail=True), folder
    )
    for name, facts in entries.items():
        relative = str(name).lstrip("/")
        if not relative.startswith(prefix) or relative == prefix:
            continue
        info = info_of(facts)
        relative = relative[len(prefix) :]
        is_folder = info.is_folder or relative.endswith("/")
        objects[relative.rstrip("/") + "/" if is_folder else relative] = info
    ordered = dict(sorted(objects.items()))
    with _lock:
        _kept[os.getpid(), str(folder)] = (begin, ordered)
    return ordered


def kept_listing(folder: RemotePath) -> dict[str, ObjectInfo] | None:
    """Return the listing of a folder that was made in this process in the last minute, None where there is none."""
    with _lock:
        kept = _kept.get((os.getpid(), str(folder)))
    return kept[1] if kept is not None and time.monotonic() - kept[0] < FRESH else None


def known_info(path: RemotePath) -> ObjectInfo | None:
    """Return the facts that the latest listing of this process has of an object, however old; None without one."""
    text, process = str(path), os.getpid()
    end = len(text)
    with _lock:
        while (end := text.rfind("/", 0, end)) > 0:
            if (kept := _kept.get((process, text[:end]))) and (info := kept[1].get(text[end + 1 :])):
                return info
    return None


def remember(folder: RemotePath, objects: dict[str, ObjectInfo]) -> None:
    """Keep in this process what another one's listing has of some objects, in place of what was kept of the folder."""
    with _lock:
        _kept[os.getpid(), str(folder)] = (-FRESH, objects)


def states_of(folder: RemotePath, names: Iterable[str]) -> dict[str, ObjectInfo]:
    """Return the facts of those of the named objects that are there now, by name.

    They come from a listing that is at hand, else by a request for each where they are few, else from a new listing.

    Raises:
        OSError: The place cannot be asked.
    """
    listed = list(names)
    objects = kept_listing(folder)
    if objects is None and len(listed) > _FEW and folder.scheme not in ("https", "http"):
        objects = list_objects(folder)
    if objects is not None:
        return {name: objects[name] for name in listed if name in objects}

    def state(name: str) -> ObjectInfo | None:
        try:
            return object_info(folder / name)
        except FileNotFoundError:
            return None

    with ThreadPoolExecutor(min(IN_FLIGHT, max(1, len(listed)))) as pool:
        states = list(pool.map(state, listed))
    return {name: info for name, info in zip(listed, states, strict=True) if info is not None and not info.is_folder}


def names_in(folder: RemotePath) -> list[str]:
    """Return the names of what lies directly below a folder. Raises OSError."""
    refuse_http(folder)
    system, place = file_system(folder), location(folder)
    entries = with_retries(lambda: system.ls(place, detail=False), folder)
    own = place.strip("/")
    names = {str(name).strip("/") for name in entries} - {own}
    if not names and not object_info(folder).is_folder:
        raise NotADirectoryError(errno.ENOTDIR, "it is not a folder", str(folder))
    return sorted(name.rpartition("/")[2] for name in names)
