"""Keys by which clients of `eml serve` are known: a file of their digests, which a running server reads again.

A key is 256 random bits that eml draws; nobody can choose one. So its digest is BLAKE2b, not scrypt or Argon2: a slow
hash makes guessing passwords costly, and there are no passwords here, only 2^256 keys that no dictionary lists. A slow
hash would give whoever sends wrong keys a way to keep the server busy. A stolen file gives no key.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from eml.errors import DataError, OutputError
from eml.files import json_text, not_writable, unwritable, whole_file
from eml.json_files import read_json
from eml.printable import printable_line
from eml.units import MIB

KeyScope = Literal["read", "write"]

PREFIX = "eml_"
"""Begins every key, so that scanners for secrets find one in a text."""
MOST_KEYS = 10_000
_FORMAT = "eml serve keys"
_VERSION = 1
_LONGEST_NAME = 100
_LONGEST_KEY = 200  # characters that are hashed of what a client sends
_PERSON = b"eml serve key"
_logger = logging.getLogger("eml.serving")


@dataclass(frozen=True)
class Key:
    """A client that the server knows.

    Attributes:
        name: What it is called in the file and in logs.
        scopes: What it may do: `read` asks, `write` changes the index. `write` includes `read`.
        rate: The requests a minute that it may send; None where they are not limited.
    """

    name: str
    scopes: frozenset[KeyScope]
    rate: float | None = None

    def may(self, scope: KeyScope) -> bool:
        """Return whether the key has a scope."""
        return scope in self.scopes or "write" in self.scopes


@dataclass(frozen=True)
class StoredKey:
    """A key as the file has it.

    Attributes:
        name: Its name.
        scopes: Its scopes.
        digest: BLAKE2b-256 of the key, in hex digits.
        created: When it was made, in ISO 8601.
        rate: Requests a minute; None without a limit.
    """

    name: str
    scopes: list[KeyScope]
    digest: str
    created: str
    rate: float | None = None


@dataclass(frozen=True)
class _KeyFile:
    """The content of a file of keys."""

    format: str
    version: int
    keys: list[StoredKey] = field(default_factory=list)


def key_digest(key: str) -> str:
    """Return what the file holds of a key: BLAKE2b-256, in hex digits."""
    return hashlib.blake2b(key.encode("utf-8", "replace"), digest_size=32, person=_PERSON).hexdigest()


def new_key() -> str:
    """Return a key of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


class KeyRing:
    """The keys of a file. The file is read again when it changes; while it cannot be read, no key fits.

    Attributes:
        path: The file.
        wrong: The number of wrong keys that were shown so far.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.wrong = path, 0
        self._state: tuple[int, ...] | None = None
        self._keys: list[tuple[bytes, Key]] = []
        self._problem: str | None = None

    @classmethod
    def read(cls, path: Path | str) -> KeyRing:
        """Return the keys of a file.

        Raises:
            DataError: The file is missing, can be written by others, or is no file of keys.
        """
        ring = cls(Path(path))
        ring._state = _file_state(ring.path)
        ring._keys = _digests(read_keys(ring.path))
        return ring

    def __len__(self) -> int:
        """Return the number of keys."""
        self._refresh()
        return len(self._keys)

    def check(self, authorization: str | None, api_key: str | None = None) -> Key | None:
        """Return whose key a request shows; None without one, with a wrong one, or with two that differ.

        Each stored digest is compared in constant time, and all of them, whichever fits.

        Args:
            authorization: The header `Authorization`, of which `Bearer KEY` is read; other schemes are no key.
            api_key: The header `X-API-Key`.
        """
        self._refresh()
        shown = shown_keys(authorization, api_key)
        if not shown:
            return None
        fitting = self._find(shown.pop()) if len(shown) == 1 else None
        self.wrong += fitting is None
        return fitting

    def _find(self, text: str) -> Key | None:
        digest, fitting = bytes.fromhex(key_digest(text[:_LONGEST_KEY])), None
        for stored, key in self._keys:
            if hmac.compare_digest(stored, digest):
                fitting = key
        return fitting

    def _refresh(self) -> None:
        """Read the file again if it changed. What cannot be read lets nobody in, and is logged once."""
        state = None
        try:
            state = _file_state(self.path)
            if state == self._state:
                return
            self._keys, self._problem = _digests(read_keys(self.path)), None
            _logger.info("keys read again: %d", len(self._keys))
        except DataError as error:
            self._keys = []
            if str(error) != self._problem:
                self._problem = str(error)
                _logger.error("no key is accepted until this is mended: %s", error)
        self._state = state


def shown_keys(authorization: str | None, api_key: str | None = None) -> set[str]:
    """Return the keys that a request shows in its two headers; empty where it shows none."""
    shown = {api_key.strip()} if api_key is not None else set()
    if authorization is not None and (match := re.fullmatch(r"(?i)bearer +(\S+) *", authorization[:1000])):
        shown.add(match[1])
    return shown


def _digests(keys: Iterable[StoredKey]) -> list[tuple[bytes, Key]]:
    return [(bytes.fromhex(key.digest), Key(key.name, frozenset(key.scopes), key.rate)) for key in keys]


def _file_state(path: Path) -> tuple[int, ...]:
    """Return what changes with the file's content: it is replaced whole, so its number changes too."""
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode


def _unreadable(path: Path, error: OSError) -> DataError:
    if isinstance(error, FileNotFoundError):
        text = f"{path}: there is no such file of keys; make one with: eml serve-key add {path} NAME"
        return DataError(text, code="missing-file", parameter="keys")
    text = f"{path}: cannot be read: {error.strerror or error}"
    return DataError(text, code="not-readable", parameter="keys")


def read_keys(path: Path) -> list[StoredKey]:
    """Return the keys of a file.

    Raises:
        DataError: The file is missing, can be written by others, or is no file of keys.
    """
    try:
        mode = path.stat().st_mode
        content = read_json(path, _KeyFile, MIB * 8)
    except OSError as error:
        raise _unreadable(path, error) from error
    except ValueError as error:
        raise _not_keys(path, str(error)) from error
    if sys.platform != "win32" and mode & (stat.S_IWGRP | stat.S_IWOTH):
        text = f"{path}: others than its owner can write it, and so add keys; run: chmod 600 {path}"
        raise DataError(text, code="unsafe-key-file", parameter="keys")
    if content.format != _FORMAT or content.version != _VERSION:
        raise _not_keys(path, f"it says format {content.format!r} of version {content.version}")
    if len(content.keys) > MOST_KEYS:
        raise _not_keys(path, f"it has {len(content.keys):,} keys; at most {MOST_KEYS:,} are read")
    for key in content.keys:
        if not re.fullmatch(r"[0-9a-f]{64}", key.digest) or not (key.rate is None or key.rate > 0):
            raise _not_keys(path, f"the key '{printable_line(key.name)}' has no digest or rate as eml writes them")
    if len({key.name for key in content.keys}) < len(content.keys):
        raise _not_keys(path, "two keys have the same name")
    return list(content.keys)


def _not_keys(path: Path, reason: str) -> DataError:
    text = f"{path}: is no file of keys as eml serve-key writes it: {reason}"
    return DataError(text, code="not-a-key-file", parameter="keys")


def add_key(path: Path, name: str, scopes: Iterable[KeyScope], rate: float | None = None) -> str:
    """Draw a key, put its digest into the file, which is made where it is missing, and return the key.

    Raises:
        DataError: The file is no file of keys, or it has a key of this name.
        OutputError: The file cannot be written.
    """
    check_name(name)
    with _locked(path):
        keys = read_keys(path) if path.exists() else []
        if any(key.name == name for key in keys):
            text = f"{path}: has a key named {name!r} already; remove it first: eml serve-key remove {path} {name}"
            raise DataError(text, code="key-exists", parameter="name")
        if len(keys) >= MOST_KEYS:
            raise DataError(f"{path}: has {MOST_KEYS:,} keys, the most there can be", code="out-of-range")
        key, created = new_key(), datetime.now(UTC).isoformat(timespec="seconds")
        _write(path, [*keys, StoredKey(name, sorted(set(scopes)), key_digest(key), created, rate)])
    return key


def remove_key(path: Path, name: str) -> StoredKey:
    """Take a key out of the file; a running server refuses it from its next request on. Return what it was.

    Raises:
        DataError: The file is missing or no file of keys, or it has no key of this name.
        OutputError: The file cannot be written.
    """
    from eml.config.text import did_you_mean, listed

    with _locked(path):
        keys = read_keys(path)
        removed = [key for key in keys if key.name == name]
        if not removed:
            names = [key.name for key in keys]
            known = f"its keys: {listed(names)}" if names else "it has none"
            text = f"{path}: has no key named '{printable_line(name)}'{did_you_mean(name, names)}; {known}"
            raise DataError(text, code="no-such-key", parameter="name")
        _write(path, [key for key in keys if key.name != name])
    return removed[0]


def check_name(name: str) -> None:
    """Raise DataError unless a text can name a key: letters, digits and `._-`, so that logs can show it."""
    if not re.fullmatch(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{_LONGEST_NAME - 1}}}", name):
        text = (
            f"the name of a key is of letters, digits, dots, hyphens and underscores, at most {_LONGEST_NAME}; "
            f"got '{printable_line(name[:_LONGEST_NAME])}'"
        )
        raise DataError(text, code="invalid-value", parameter="name")


def _write(path: Path, keys: list[StoredKey]) -> None:
    """Write the file, readable by its owner alone from its first byte on."""
    rows = [
        {"name": key.name, "scopes": key.scopes, "rate": key.rate, "created": key.created, "digest": key.digest}
        for key in keys
    ]
    text = json_text({"format": _FORMAT, "version": _VERSION, "keys": rows})
    with whole_file(path) as temporary:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time change the file; others wait up to ten seconds."""
    from filelock import FileLock, Timeout

    if (reason := unwritable(path.parent)) is not None:
        raise OutputError(reason, code="not-writable", parameter="file")
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=10)
    except Timeout as error:
        text = f"{path}: another process is changing it; try again"
        raise OutputError(text, code="being-written") from error
    except OSError as error:
        raise not_writable(path, error) from error
    try:
        yield
    finally:
        lock.release()  # the file stays: who waits for it would hold one that is gone
