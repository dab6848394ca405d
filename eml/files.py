"""Files that are written whole or not at all, and digests."""

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from eml.errors import OutputError

TEMPORARY_PREFIX = ".eml-tmp-"
FILE_SUFFIXES = (
    *(".csv", ".tsv", ".parquet", ".xlsx", ".json", ".jsonl", ".yaml", ".yml", ".txt", ".md", ".log"),
    *(".html", ".htm", ".pdf", ".png", ".jpg", ".jpeg", ".npz", ".npy", ".pt", ".pth", ".safetensors", ".onnx", ".zip"),
)
"""A name with one of these suffixes means a file, not a folder."""

NO_PATH = "no path of a file: it has a character that file systems do not take, or is too long"
LONGEST_NAME, LONGEST_PATH = 255, 4095  # bytes of a name and of a path on the usual file systems


def is_path(text: str) -> bool:
    """Return whether text can name a file: no NUL or lone surrogate, at most 255 bytes a name and 4,095 in all."""
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


def refuse_pipe(path: Path) -> None:
    """Raise an OSError for a pipe or a device, which would be waited for or have no end; others are left to be read."""
    if path.exists() and not path.is_file() and not path.is_dir():
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
            if path.exists() and not (path.is_file() or path.is_dir()):
                raise OSError(errno.EINVAL, "it is a device or a pipe")
        path = paths[0]
        yield temporaries
        for path in paths:
            _sync(temporaries[path])
        for group in groups:
            for path in group:
                temporaries[path].replace(path)
            for folder in dict.fromkeys(path.parent for path in group):
                _sync(folder)
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

    An existing `path` is replaced. It is moved aside first, so that one of the two is always complete.
    """
    temporary = temporary_path(path)
    aside = temporary.with_name(temporary.name + "-old")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for file in temporary.rglob("*"):
            _sync(file)
        if path.exists():
            path.replace(aside)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise not_writable(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if aside.exists():
            if path.exists():
                shutil.rmtree(aside, ignore_errors=True)
            else:
                aside.replace(path)


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
    return Path(os.path.normpath(now / os.path.relpath(path, before)))


def unwritable(folder: Path) -> str | None:
    """Return why a folder cannot be written, or None. It need not exist yet; nothing is left behind."""
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
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def text_digest(text: str) -> str:
    """Return blake2b-128 of the text as UTF-8, as 32 hex digits."""
    return bytes_digest(text.encode())


def bytes_digest(data: bytes) -> str:
    """Return blake2b-128 of the bytes as 32 hex digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
