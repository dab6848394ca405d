"""Listings of remote folders: all objects below one, by few requests, with their sizes and versions."""

import errno
import math
import os
import shlex
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from eml.errors import DataError
from eml.storage.file_systems import IN_FLIGHT, file_system, location
from eml.storage.objects import ObjectInfo, info_of, object_info
from eml.storage.remembered import command_begin
from eml.storage.remote_path import RemotePath
from eml.storage.retries import with_retries

FRESH = 60.0
"""Seconds for which a listing counts as what is there now."""
_FEW = 4_000  # files that are asked for one by one where no listing is at hand
_Known = dict[str, tuple[float, ObjectInfo | None]]
"""Name → when it was asked for, and its facts; None where there was nothing."""
_kept: dict[str, tuple[float, dict[str, ObjectInfo]]] = {}
_answers: dict[str, _Known] = {}
_lock = threading.Lock()


def _new_lock() -> None:
    """Give a forked process, which knows what its parent knew, a lock that no thread of its parent holds."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)


def forget_all() -> None:
    """Forget what is known of all objects."""
    with _lock:
        _kept.clear()
        _answers.clear()


def refuse_http(folder: RemotePath) -> None:
    """Raise a DataError for a folder of a web server, which does not list its files."""
    if folder.scheme in ("https", "http"):
        command = shlex.join(["eml", "split", "TABLE", "--root", str(folder)])
        text = f"{folder}: the files of a web server cannot be listed. Write a table of them with the column "
        text += "file_name, relative to the address, and give it to a command that takes tables, with the address: "
        text += command
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
        _kept[str(folder)] = (begin, ordered)
    return ordered


def kept_listing(folder: RemotePath) -> dict[str, ObjectInfo] | None:
    """Return the listing of a folder that was made in this process in the last minute, None where there is none."""
    with _lock:
        kept = _kept.get(str(folder))
    return kept[1] if kept is not None and time.monotonic() - kept[0] < FRESH else None


def known_info(path: RemotePath | str) -> ObjectInfo | None:
    """Return the facts of an object as this process learned them last, however long ago; None where it did not.

    It learns them by a listing of a folder and by `states_of`, as commands do when they begin; a forked process knows
    what its parent knew.
    """
    text = str(path)
    end = len(text)
    with _lock:
        while (end := text.rfind("/", 0, end)) > 0:
            folder, name = text[:end], text[end + 1 :]
            time_listed, objects = _kept.get(folder, (-math.inf, {}))
            time_answered, info = _answers.get(folder, {}).get(name, (-math.inf, None))
            if time_answered > -math.inf and time_answered >= time_listed:
                return info
            if (info := objects.get(name)) is not None:
                return info
    return None


def remember(folder: RemotePath, objects: dict[str, ObjectInfo]) -> None:
    """Keep in this process what another one's listing has of some objects, in place of what was kept of the folder."""
    with _lock:
        _kept[str(folder)] = (-FRESH, objects)


def look_again(folder: RemotePath, names: Iterable[str]) -> None:
    """Ask for the facts of those of the named objects that this process has not learned in the last minute.

    Raises:
        OSError: The place cannot be asked.
    """
    if kept_listing(folder) is not None:
        return
    now = time.monotonic()
    with _lock:
        answers = _answers.get(str(folder), {})
        since = min(now - FRESH, command_begin())
        old = [name for name in names if name not in answers or answers[name][0] <= since]
    if old:
        states_of(folder, old)


def states_of(folder: RemotePath, names: Iterable[str], *, again: bool = True) -> dict[str, ObjectInfo]:
    """Return the facts of those of the named objects that are there now, by name.

    They come from a listing that is at hand, else by a request for each where they are few, else from a new listing,
    and are what `known_info` returns from now on.

    Args:
        folder: The folder.
        names: Relative to it.
        again: Ask also for what the command that runs has asked for.

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

    begin, since = time.monotonic(), math.inf if again else command_begin()
    with _lock:
        answers = _answers.get(str(folder), {})
        known = {name: answers[name][1] for name in listed if name in answers and answers[name][0] >= since}
    unknown = [name for name in listed if name not in known]
    with ThreadPoolExecutor(min(IN_FLIGHT, max(1, len(unknown)))) as pool:
        states = dict(zip(unknown, pool.map(state, unknown), strict=True))
    with _lock:
        _answers.setdefault(str(folder), {}).update((name, (begin, info)) for name, info in states.items())
    infos = ((name, states[name] if name in states else known[name]) for name in listed)
    return {name: info for name, info in infos if info is not None and not info.is_folder}


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
