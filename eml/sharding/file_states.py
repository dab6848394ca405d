"""Sizes and times of files, by which a shard that is done is known to be of the files as they are."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from eml.images.packed.members import member_state
from eml.images.packed.remote_states import image_states
from eml.storage import RemotePath

_CLOCK_TICK = 2_000_000_000  # ns; the coarsest clock of a file system, FAT's


@dataclass(frozen=True)
class ListedFiles:
    """The files that a shard reads, as they were before it read them.

    Attributes:
        rows: Images, or boxes of them.
        names: Digest of their names, boxes and order.
        states: Digest of the files' sizes and times; of remote objects, of their sizes and versions.
        settled: Whether an equal size and time later prove a file unchanged: none was written within two seconds of
            now, in which it may be written again within the same tick of a clock.
    """

    rows: int
    names: str
    states: str
    settled: bool


def listed_files(root: Path, names: Sequence[str], details: Sequence[object] = ()) -> ListedFiles:
    """Return what is known of files without opening them.

    Args:
        root: The folder that names are relative to.
        names: POSIX; one that is there several times is looked at once.
        details: Of each name what else belongs to it, such as its box; none where there is nothing.
    """
    listing, states, settled = blake2b(digest_size=16), blake2b(digest_size=16), True
    seen: set[str] = set()
    now = time.time_ns()
    objects = image_states(root, dict.fromkeys(names)) if isinstance(root, RemotePath) else None
    for place, name in enumerate(names):
        key = name.encode("utf-8", "surrogatepass")
        listing.update(key + b"\0" + (repr(details[place]).encode() if details else b"") + b"\n")
        if name in seen:
            continue
        seen.add(name)
        if objects is not None:
            info = objects.get(name)
            states.update(key + (b"\0-\n" if info is None else f"\0{info.bytes},{info.token}\n".encode()))
            continue
        size, changed = state_of(root, name)
        states.update(key + b"\0%d,%d\n" % (size, changed))
        settled = settled and abs(now - changed) > _CLOCK_TICK
    return ListedFiles(len(names), listing.hexdigest(), states.hexdigest(), settled)


def state_of(root: Path, name: str) -> tuple[int, int]:
    """Return a file's bytes and time (ns); −1 and −1 of one that cannot be looked at, which reading it tells."""
    path = f"{root}/{name}"
    try:
        state = os.stat(path)  # noqa: PTH116 - a Path for each of a million is slow
    except OSError:
        return _state_of_member(path)
    return state.st_size, state.st_mtime_ns


def _state_of_member(path: str) -> tuple[int, int]:
    """Return size and time of an image inside a packed file."""
    try:
        member = member_state(path)
    except OSError:
        return -1, -1
    return (-1, -1) if member is None else (-1 if member.size is None else member.size, member.mtime)


def together(parts: Sequence[ListedFiles]) -> ListedFiles:
    """Return what is known of the files of several sets; of one set it is the set's own."""
    if len(parts) == 1:
        return parts[0]
    names, states = (
        blake2b("\n".join(texts).encode(), digest_size=16).hexdigest()
        for texts in ([part.names for part in parts], [part.states for part in parts])
    )
    return ListedFiles(sum(part.rows for part in parts), names, states, all(part.settled for part in parts))
