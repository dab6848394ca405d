"""Keep what a command has learned of files at addresses, their facts and the bytes of small ones, while it runs.

A table and its sidecar are looked at by many steps of a command, each of which would be a request. The next command
asks anew; outside of commands nothing is remembered.
"""

import errno
import io
import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from eml.storage.objects import ObjectInfo, object_info, open_binary, read_whole
from eml.storage.remote_path import RemotePath
from eml.units import MIB

SMALL = 32 * MIB
"""Bytes of a file that is read whole at most."""
_MOST = 128 * MIB  # bytes of all files that are remembered


class _Files:
    """The files of the commands that run."""

    def __init__(self) -> None:
        self._new_lock()
        self._running, self.begin = 0, math.inf
        self._clear()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._new_lock)

    def _new_lock(self) -> None:
        self._lock = threading.Lock()

    def _clear(self) -> None:
        self._infos: dict[str, ObjectInfo | None] = {}
        self._bytes: dict[str, bytes] = {}

    def enter(self) -> None:
        with self._lock:
            if not self._running:
                self._clear()
                self.begin = time.monotonic()
            self._running += 1

    def leave(self) -> None:
        with self._lock:
            self._running -= 1
            if not self._running:
                self._clear()
                self.begin = math.inf

    def forget(self) -> None:
        with self._lock:
            self._clear()

    def info(self, path: RemotePath) -> ObjectInfo:
        """Return the facts of a file or folder. Raises OSError, FileNotFoundError where there is nothing."""
        name = str(path)
        with self._lock:
            if name in self._infos:
                if (known := self._infos[name]) is None:
                    raise FileNotFoundError(errno.ENOENT, "no such object", name)
                return known
        try:
            info = object_info(path)
        except FileNotFoundError:
            self._keep_info(name, None)
            raise
        self._keep_info(name, info)
        return info

    def _keep_info(self, name: str, info: ObjectInfo | None) -> None:
        with self._lock:
            if self._running:
                self._infos[name] = info

    def read(self, path: RemotePath) -> bytes:
        """Return the bytes of a file. Raises OSError."""
        name = str(path)
        with self._lock:
            if (data := self._bytes.get(name)) is not None:
                return data
        data, info = read_whole(path, self.info(path))[:2]
        with self._lock:
            if self._running and len(data) + sum(map(len, self._bytes.values())) <= _MOST and len(data) <= SMALL:
                self._infos[name], self._bytes[name] = info, data
        return data


_files = _Files()


@contextmanager
def remembering() -> Iterator[None]:
    """Remember files from now on to the end, of the outermost command where one runs in another."""
    _files.enter()
    try:
        yield
    finally:
        _files.leave()


def forget_files() -> None:
    """Have all files asked for again."""
    _files.forget()


def command_begin() -> float:
    """Return when the outermost command began, by `time.monotonic`; infinity where none runs."""
    return _files.begin


def file_info(path: RemotePath) -> ObjectInfo:
    """Return the facts of a file or folder, as the command knows them. Raises OSError."""
    return _files.info(path)


def file_bytes(path: RemotePath) -> bytes:
    """Return the bytes of a file, as the command knows them. Raises OSError."""
    return _files.read(path)


def open_file(path: RemotePath) -> IO[bytes]:
    """Return a file that can be sought in; a small one is read whole. Raises OSError."""
    info = file_info(path)
    if info.is_folder:
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    return io.BytesIO(file_bytes(path)) if info.bytes <= SMALL else open_binary(path)


def as_file(path: Path) -> Path | IO[bytes]:
    """Return a local path as it is, and a remote one as a file, for packages that take either."""
    return open_file(path) if isinstance(path, RemotePath) else path
