"""Files that are written whole or not at all, and digests."""

import ctypes
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from eml.errors import OutputError
from eml.storage import RemotePath, file_bytes, is_remote

TEMPORARY_PREFIX = ".eml-tmp-"
_TEMPORARY = re.compile(r"\.eml-tmp-(?:old-)?[0-9a-f]{8}(?:[-.]|$)")
_ASIDE = re.compile(r"\.eml-tmp-old-[0-9a-f]{8}-")  # begins the name of a folder that was moved aside
_LEFT = 24 * 3600.0  # seconds after which a temporary file is taken for one that nobody writes any more
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD; RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS
_tidied: set[Path] = set()

FILE_SUFFIXES = (
    *(".csv", ".tsv", ".parquet", ".xlsx", ".json", ".jsonl", ".yaml", ".yml", ".txt", ".md", ".log"),
    *(".html", ".htm", ".pdf", ".png", ".jpg", ".jpeg", ".npz", ".npy", ".pt", ".pth", ".safetensors", ".onnx", ".zip"),
)
"""A name with one of these suffixes means a file, not a folder."""

NO_PATH = "no path of a file: it has a character that file systems do not take, or is too long"
LONGEST_NAME, LONGEST_PATH = 255, 4095  # bytes of a name and of a path on the usual file systems


def as_argument(path: Path) -> str:
    """Return a path as a word of a command line that is not taken for an option: ./-photos for -photos."""
    text = str(path)
    return f"./{text}" if text.startswith("-") and text != "-" else text


def is_path(text: str) -> bool:
    """Return whether text can name a file: no NUL or lone surrogate, at most 255 bytes a name and 4,095 in all."""
    if text.isascii() and len(text) <= LONGEST_NAME:  # as nearly all are; of a tar file there may be a million
        return "\0" not in text
    try:
        raw = os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return b"\0" not in raw and len(raw) <= LONGEST_PATH and max(map(len, raw.split(b"/"))) <= LONGEST_NAME


def is_utf8(text: str) -> bool:
    """Return whether a name can be written as text: a name of a file may hold other bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def real_path(path: Path) -> Path:
    """Return the absolute path without links and `..`. Links in a circle are left as they are.

    Path.resolve raises a RuntimeError for them, which no reader of files expects.
    """
    return path if is_remote(path) else Path(os.path.realpath(path))


def is_loop(path: Path) -> bool:
    """Return whether the path is a link that leads to itself, or through one that does."""
    try:
        path.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def is_within(path: Path, folder: Path) -> bool:
    """Return whether a path is `folder` or leads into it, by what links lead to."""
    return real_path(path).is_relative_to(real_path(folder))


def from_here(path: Path) -> Path:
    """Return a path as one types it: relative to the current folder if it is below that, else as it is."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def refuse_pipe(path: Path) -> None:
    """Raise an OSError for a pipe or a device, which would be waited for or have no end; others are left to be read."""
    if is_remote(path):
        return
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # whoever opens it says why it cannot be read
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; when the block ends without an error, it replaces `path` after fsync.

    Raises OutputError when the folder cannot be written or the disk is full; `path` is then unchanged.
    """
    with whole_files([path]) as temporaries:
        yield temporaries[path]


@contextmanager
def whole_files(*groups: Sequence[Path]) -> Iterator[dict[Path, Path]]:
    """Yield path → temporary path beside it; when the block ends without an error, each replaces its path after fsync.

    All of them are on the disk before the first one is replaced, so that a full disk changes nothing. Then they are
    replaced one after the other in the order of the groups; a group is durable before the next one begins.

    Raises OutputError as `whole_file` does, and names the file that failed.
    """
    paths = [path for group in groups for path in group]
    temporaries = {path: temporary_path(path) for path in paths}
    path = paths[0]
    try:
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            _tidy(path.parent)
            if path.exists() and not (path.is_file() or path.is_dir()):
                raise OSError(errno.EINVAL, "it is a device or a pipe")
        path = paths[0]
        yield temporaries
        for path in paths:
            sync(temporaries[path])
        for group in groups:
            for path in group:
                temporaries[path].replace(path)
            for folder in dict.fromkeys(path.parent for path in group):
                sync(folder)
    except OSError as error:
        raise not_writable(path, error) from error
    finally:
        for temporary in temporaries.values():
            with suppress(OSError):  # the parent may not be a folder; the first error says so
                temporary.unlink()


def temporary_path(path: Path) -> Path:
    """Return a hidden name beside `path` that nothing else has."""
    prefix = f"{TEMPORARY_PREFIX}{uuid.uuid4().hex[:8]}"
    name = f"{prefix}-{path.name}"
    return path.with_name(name if is_path(f"{name}-old") else prefix + path.suffix[-20:])


def not_writable(path: Path, error: OSError) -> OutputError:
    """Return the error that a file could not be written."""
    return OutputError(f"{path}: cannot be written: {error.strerror or error}", code="not-writable")


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; when the block ends without an error, it is renamed to `path`.

    An existing `path` is exchanged with it, so that one of the two is there at any time. Where the system cannot do
    that, the old one is moved aside first, and `restore_folders` brings it back if the process ends just then.
    """
    temporary = temporary_path(path)
    aside = temporary.with_name(temporary.name.replace(TEMPORARY_PREFIX, f"{TEMPORARY_PREFIX}old-", 1))
    try:
        temporary.mkdir(parents=True)
        restore_folders(path.parent)
        _tidy(path.parent)
        yield temporary
        for file in temporary.rglob("*"):
            sync(file)
        if not path.exists():
            temporary.replace(path)
        elif not exchange(temporary, path):
            path.replace(aside)
            temporary.replace(path)
        sync(path.parent)
    except OSError as error:
        raise not_writable(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if aside.exists():
            if path.exists():
                shutil.rmtree(aside, ignore_errors=True)
            else:
                aside.replace(path)


def restore_folders(parent: Path) -> None:
    """Bring back the folders that a killed process had moved aside to replace them, if nothing is in their place."""
    with suppress(OSError):  # the folder may be missing or only readable
        for aside in [path for path in parent.iterdir() if _ASIDE.match(path.name)]:
            place = _place_of(aside)
            if place is not None and not place.exists():
                aside.replace(place)


def _place_of(aside: Path) -> Path | None:
    """Return where a folder was that was moved aside; None for another path."""
    match = _ASIDE.match(aside.name)
    return aside.with_name(aside.name[match.end() :]) if match and aside.name[match.end() :] else None


def exchange(path: Path, partner: Path) -> bool:
    """Exchange what two paths name, at once; return whether the system and the file system can do that."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "linux":
            done = libc.renameat2(_HERE, os.fsencode(path), _HERE, os.fsencode(partner), _EXCHANGE)
        elif sys.platform == "darwin":
            done = libc.renamex_np(os.fsencode(path), os.fsencode(partner), _EXCHANGE)
        else:
            return False
    except (OSError, AttributeError, TypeError):  # no such function
        return False
    return bool(done == 0)


def is_temporary(name: str) -> bool:
    """Return whether a name is of a file that is being written, or of which the writing was killed."""
    return _TEMPORARY.match(name) is not None


def remove_temporaries(folder: Path) -> None:
    """Remove the temporary files that killed processes left in a folder in which no other one writes."""
    for path in folder.iterdir():
        if is_temporary(path.name) and not path.is_dir():
            path.unlink(missing_ok=True)


def _tidy(folder: Path) -> None:
    """Remove the temporary files and folders that processes which were killed over a day ago left in a folder."""
    if folder in _tidied:
        return
    _tidied.add(folder)
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            place = _place_of(Path(entry.path))
            if not _TEMPORARY.match(entry.name) or (place is not None and not place.exists()):
                continue
            with suppress(OSError):
                if time.time() - entry.stat(follow_symlinks=False).st_mtime < _LEFT:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    os.unlink(entry.path)  # noqa: PTH108 - a test replaces Path's


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with a final newline; NaN is refused, since JSON has none."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Return what `write_json` writes."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def moved_along(path: Path, before: Path, now: Path) -> Path:
    """Return where `path` is if it was moved together with a folder that was at `before` and is at `now`."""
    try:
        return Path(os.path.normpath(now / os.path.relpath(path, before)))
    except ValueError:  # of two drives
        return path


def unwritable(folder: Path) -> str | None:
    """Return why a folder cannot be written, or None. It need not exist yet; nothing is left behind."""
    if is_remote(folder):
        return f"{folder}: cannot be written: results are written into local folders"
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        return f"{folder}: cannot be written, since {existing} is a file"
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"{folder}: cannot be written (no permission)"
    try:
        with TemporaryFile(dir=existing):
            return None
    except OSError as error:  # a file system can refuse files, whatever the permissions are
        return f"{folder}: cannot be written: {error.strerror or error}"


def refuse_file_name(folder: Path, purpose: str) -> None:
    """Raise OutputError when the name of a new folder is that of a file. purpose: what `out` is, `a folder for …`."""
    if folder.suffix.lower() in FILE_SUFFIXES and not folder.is_dir():
        text = f"{folder}: `out` is {purpose}; no folder is made with {folder.suffix} at its end"
        raise OutputError(text, code="wrong-suffix", parameter="out")


def digest(path: Path) -> str:
    """Return blake2b-128 of the file's bytes as 32 hex digits."""
    if isinstance(path, RemotePath):
        return bytes_digest(file_bytes(path))
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def digest_of(path: Path) -> str | None:
    """Return `digest`, or None for what is no file that can be read."""
    try:
        return digest(path) if path.is_file() else None
    except OSError:
        return None


def text_digest(text: str) -> str:
    """Return blake2b-128 of the text as UTF-8, as 32 hex digits."""
    return bytes_digest(text.encode())


def bytes_digest(data: bytes) -> str:
    """Return blake2b-128 of the bytes as 32 hex digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def sync(path: Path) -> None:
    """Have the system write a file, or what a folder names, to the disk."""
    flags = os.O_RDONLY
    if sys.platform == "win32":
        if path.is_dir():  # which cannot be opened there
            return
        flags = os.O_RDWR
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
