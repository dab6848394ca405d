"""Objects of remote places on the local disk, whole or in parts, so that a second epoch reads no network.

A file is named by the digest of the URL, the version and the part, so that another version is another file, and holds a
digest of its bytes in front of them. It is written beside its place and then renamed. A file that is cut or changed, as
a crash of the machine can leave one, does not fit its digest and is read anew; nothing that is wrong in the cache ends
a command. Several processes use it at once: only the removal of what was unused for the longest time is locked, and a
process that has a file open can read it to its end.
"""

import contextlib
import hashlib
import os
import re
import threading
import time
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from eml.errors import ConfigError
from eml.storage.objects import ObjectInfo, object_info, read_whole
from eml.storage.remote_path import RemotePath

FOLDER_VARIABLE, SIZE_VARIABLE = "EML_REMOTE_CACHE", "EML_REMOTE_CACHE_SIZE"
DEFAULT_SIZE = "10GB"
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)
_DIGEST = 16  # bytes
_KEPT = 0.9  # the share of the limit that is left after a removal
_STEP = 64  # a removal is due when a process has added a share of 1/64 of the limit, or 64 MB
_MOST_STEP = 64 * 10**6
_USED_AGAIN = 600.0  # seconds after which another use of a file is noted
_MOST_CHECKED = 50_000  # files that a process remembers to have compared with their digests
_LEFT = 3600.0  # seconds after which a temporary file is one of a process that was killed


@dataclass(frozen=True)
class ObjectCacheSettings:
    """The folder of the cache, and its bytes at most; 0: there is none."""

    folder: Path
    limit: int


def cache_settings() -> ObjectCacheSettings:
    """Return the settings that the environment says.

    Raises:
        ConfigError: The size cannot be understood.
    """
    text = os.environ.get(SIZE_VARIABLE) or DEFAULT_SIZE
    match = _SIZE.fullmatch(text)
    unit = _UNITS.get(match[2].upper()) if match else None
    if match is None or unit is None:
        problem = f"{SIZE_VARIABLE} must be a size such as {DEFAULT_SIZE}, or 0 for no cache, got {text!r}"
        raise ConfigError(problem, code="invalid-value")
    place = os.environ.get(FOLDER_VARIABLE)
    base = os.environ.get("XDG_CACHE_HOME")
    folder = Path(place) if place else (Path(base) if base else Path.home() / ".cache") / "eml" / "remote"
    return ObjectCacheSettings(folder, int(float(match[1]) * unit))


def cached_bytes(path: RemotePath, info: ObjectInfo | None = None) -> bytes:
    """Return the bytes of an object, whole, from the cache or from its place.

    Args:
        path: The object.
        info: As a listing has it; None: it is asked for.

    Raises:
        OSError: It cannot be read, after retries.
    """
    info = info or object_info(path)
    cache = object_cache()
    if cache is None or not info.token or info.is_folder:
        return read_whole(path, info).data
    if (data := cache.get(path, info)) is not None:
        return data
    read = read_whole(path, info)
    if read.is_proven or not _is_other(path, read.info):
        cache.put(path, read.info, read.data)
    return read.data


def _is_other(path: RemotePath, read: ObjectInfo) -> bool:
    """Return whether an object has another version by now."""
    return not object_info(path).is_same_version(read)


class ObjectCache:
    """A folder of objects.

    Args:
        settings: The folder and its limit.
    """

    def __init__(self, settings: ObjectCacheSettings) -> None:
        self.folder, self.limit = settings.folder, settings.limit
        self._step = min(self.limit // _STEP, _MOST_STEP)
        self._added = self._step  # the first object looks at what earlier processes left
        self._lock = threading.Lock()
        self._full_until = 0.0
        self._checked: dict[str, tuple[int, ...]] = {}

    def _place(self, path: RemotePath, info: ObjectInfo, part: str = "") -> Path:
        text = f"{path}\0{info.token}\0{info.bytes}" + (f"\0{part}" if part else "")
        name = hashlib.blake2b(text.encode(), digest_size=20).hexdigest()
        return self.folder / "objects" / name[:2] / name[2:]

    def get(self, path: RemotePath, info: ObjectInfo, part: str = "") -> bytes | None:
        """Return the bytes of a version of an object, or of a part; None where the cache does not have them whole."""
        place = self._place(path, info, part)
        try:
            with place.open("rb") as file:
                _note_use(place, os.fstat(file.fileno()))
                state = _state(file.fileno())  # before it is read: a change meanwhile gives another one
                data = file.read()
        except OSError:
            return None
        digest, data = data[:_DIGEST], data[_DIGEST:]
        if hashlib.blake2b(data, digest_size=_DIGEST).digest() != digest:
            with contextlib.suppress(OSError):
                place.unlink()
            return None
        if len(self._checked) >= _MOST_CHECKED:
            self._checked.clear()
        self._checked[place.name] = state
        return data

    def get_some(self, path: RemotePath, info: ObjectInfo, part: str, start: int, end: int) -> bytes | None:
        """Return some bytes of a part, as `get`: a file that is unchanged since it was compared is not read whole.

        Args:
            path: The object.
            info: Its version.
            part: The part.
            start: The first byte, from 0 in the part.
            end: The byte after the last one, which the part must have.
        """
        place = self._place(path, info, part)
        if place.name in self._checked:
            with contextlib.suppress(OSError), place.open("rb", buffering=0) as file:
                file.seek(_DIGEST + start)
                data = file.read(end - start)
                if self._checked.get(place.name) == _state(file.fileno()) and len(data) == end - start:
                    _note_use(place, os.fstat(file.fileno()))
                    return data
        whole = self.get(path, info, part)
        return None if whole is None else whole[start:end]

    def holds(self, path: RemotePath, info: ObjectInfo, part: str) -> bool:
        """Return whether there is a file of a part, whatever is in it."""
        return self._place(path, info, part).exists()

    def put(self, path: RemotePath, info: ObjectInfo, data: bytes, part: str = "") -> None:
        """Keep the bytes of a version of an object, or of a part of it, where there is room for them."""
        size = len(data) + _DIGEST
        if size > self.limit * (1 - _KEPT) or time.monotonic() < self._full_until:
            return
        with self._lock:
            self._added += size
            is_due = self._added > self._step
            if is_due:
                self._added = 0
        if is_due:
            self._make_room(size)
        place = self._place(path, info, part)
        temporary = place.with_name(f".{uuid.uuid4().hex}")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as file:
                file.write(hashlib.blake2b(data, digest_size=_DIGEST).digest())
                file.write(data)
            temporary.replace(place)
        except OSError:  # the disk is full, or the folder cannot be written: the command goes on without it
            self._full_until = time.monotonic() + 60
            with contextlib.suppress(OSError):
                temporary.unlink()

    def _make_room(self, size: int) -> None:
        """Remove what was unused for the longest time where the cache is larger than its limit allows."""
        from filelock import FileLock, Timeout

        with contextlib.suppress(OSError, Timeout):
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / ".lock", timeout=0):  # whoever holds it does the same
                files = self.files()
                total = sum(bytes_ for _, bytes_, _ in files) + size
                if total <= self.limit - self._step:
                    return
                for _, bytes_, place in sorted(files):
                    if total <= self.limit * _KEPT:
                        return
                    with contextlib.suppress(OSError):
                        place.unlink()
                    total -= bytes_

    def files(self) -> list[tuple[float, int, Path]]:
        """Return the time of the last use, the bytes and the place of each object; old temporary files are removed."""
        files: list[tuple[float, int, Path]] = []
        for folder, _, names in os.walk(self.folder / "objects"):
            for name in names:
                place = Path(folder) / name
                with contextlib.suppress(OSError):
                    state = place.stat()
                    if not name.startswith("."):
                        files.append((state.st_mtime, state.st_size, place))
                    elif time.time() - state.st_mtime > _LEFT:
                        place.unlink()
        return files


def _state(file: int) -> tuple[int, ...]:
    """Return what becomes another one when an open file is changed, and also when its use is noted."""
    state = os.fstat(file)
    return state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def _note_use(place: Path, state: os.stat_result) -> None:
    """Set the time of a file's last use, unless it is recent."""
    if time.time() - state.st_mtime > _USED_AGAIN:
        with contextlib.suppress(OSError):
            os.utime(place)


@cache
def _of(process: int, settings: ObjectCacheSettings) -> ObjectCache:
    return ObjectCache(settings)


def object_cache() -> ObjectCache | None:
    """Return the cache of this process, None where the environment says that there is none. Raises ConfigError."""
    settings = cache_settings()
    return _of(os.getpid(), settings) if settings.limit else None


def cache_facts() -> str:
    """Return the folder, the bytes and the limit of the cache, for `eml doctor`."""
    settings = cache_settings()
    if not settings.limit:
        return f"none ({SIZE_VARIABLE}=0)"
    files = ObjectCache(settings).files()
    used = sum(size for _, size, _ in files)
    return f"{settings.folder}, {used / 10**9:,.2f} of {settings.limit / 10**9:,.1f} GB in {len(files):,} files"
