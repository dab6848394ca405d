"""Look up what is known of images in remote places, loose or inside packed files, by few requests."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from eml.errors import DataError
from eml.images.locate import stays_below
from eml.images.packed.contents import NotPackedError, UnusableError
from eml.images.packed.members import member_info, possible_members
from eml.images.packed.opened_files import opened_files
from eml.storage import RemotePath, is_url
from eml.storage.listing import known_info, look_again, states_of
from eml.storage.objects import ObjectInfo, object_info
from eml.threads import in_order

_MOST_ASKED = 4_000  # files of a web server, each of which is a request before the first is read
_FILES_AT_ONCE = 4  # packed files whose keys are read


def image_states(root: RemotePath, names: Iterable[str], *, again: bool = True) -> dict[str, ObjectInfo]:
    """Return the facts of those of the named images that are there now, by name, as `states_of` does.

    Those of an image inside a packed file are the version of that file and −1 for bytes. Each packed file is asked for
    once, and its keys are read.

    Args:
        root: The folder of the images.
        names: Relative to it.
        again: Ask also for what the command that runs has asked for.

    Raises:
        DataError: The place cannot be asked, or a packed file there cannot be read in parts.
    """
    try:
        return _image_states(root, names, again)
    except OSError as error:
        place = error.filename if is_url(error.filename) else root
        text = f"{place}: cannot be read: {error.strerror or error}"
        raise DataError(text, code="not-readable", parameter="root") from error


def _image_states(root: RemotePath, names: Iterable[str], again: bool) -> dict[str, ObjectInfo]:
    possible = {name: _packed_files(name) for name in names}
    plain = [name for name, files in possible.items() if not files]
    states = states_of(
        root, {**dict.fromkeys(plain), **{file: None for files in possible.values() for file in files}}, again=again
    )
    inside: dict[str, list[str]] = {}
    odd: list[str] = []  # in a folder that is called like a packed file
    for name, files in possible.items():
        if file := next((file for file in files if file in states), None):
            inside.setdefault(file, []).append(name)
        elif files:
            odd.append(name)
    states_now = {name: states[name] for name in plain if name in states}
    states_now |= states_of(root, odd, again=again) if odd else {}
    groups = in_order(lambda file: _states_inside(root, file, inside[file]), list(inside), _FILES_AT_ONCE)
    for group in groups:
        states_now |= group
    return states_now


def _packed_files(name: str) -> list[str]:
    return [member.file for member in possible_members(name)]


def _states_inside(root: RemotePath, file: str, names: Sequence[str]) -> dict[str, ObjectInfo]:
    """Return the facts of images inside a packed file, of those that it has."""
    try:
        opened = opened_files.get(str(root / file))
        assert isinstance(opened.state, ObjectInfo)
        info = ObjectInfo(-1, opened.state.token, modified=opened.state.modified)
        return {name: info for name in names if opened.file.has(name[len(file) + 1 :])}
    except (UnusableError, NotPackedError, FileNotFoundError):  # reading it tells
        return {}


def image_info(path: RemotePath) -> ObjectInfo:
    """Return the facts of an image, as they are known, else by asking. Raises OSError."""
    return member_info(path) or known_info(path) or object_info(path)


def look_at(root: Path, names: Iterable[str]) -> None:
    """Have `known_info` know the versions of images and packed files in a remote place as they were a minute ago.

    What cannot be asked for is left to reading, which tells.
    """
    if not isinstance(root, RemotePath):
        return
    packed: dict[str, None] = {}
    loose: list[str] = []
    for name in filter(stays_below, names):
        files = _packed_files(name)
        packed |= dict.fromkeys(files)
        loose += [] if files else [name]
    if root.scheme in ("https", "http") and len(loose) > _MOST_ASKED:  # no listing tells them at once
        loose = []
    with suppress(OSError):
        look_again(root, [*packed, *loose])
