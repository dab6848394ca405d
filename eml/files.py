"""Files written whole or not at all, and digests of what was read."""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from eml.errors import OutputError

MIB = 2**20  # bytes
TEMPORARY_PREFIX = ".eml-tmp-"
FILE_SUFFIXES = (
    *(".csv", ".tsv", ".parquet", ".xlsx", ".json", ".jsonl", ".yaml", ".yml", ".txt", ".md", ".log"),
    *(".html", ".htm", ".pdf", ".png", ".jpg", ".jpeg", ".npz", ".npy", ".pt", ".pth", ".safetensors", ".onnx", ".zip"),
)
"""By which a name is that of a file, and no folder of that name is meant."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder; moved over `path` (after fsync) when the block ends without an error.

    Raises OutputError when the folder cannot be written or the disk is full; `path` is then what it was before.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # the folder may not be one; the first error says so
            temporary.unlink()


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`; renamed to `path` when the block ends without an error.

    An existing `path` is replaced (moved aside first, so that one of the two is always whole).
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex[:8]}-{path.name}")
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
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if aside.exists():
            if path.exists():
                shutil.rmtree(aside, ignore_errors=True)
            else:
                aside.replace(path)


def write_text(path: Path, text: str) -> None:
    """`text` as UTF-8, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """`value` as indented JSON with a final newline; NaN is refused, since it is no JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def unwritable(folder: Path) -> str | None:
    """Why nothing can be written there, before the work is done. The folder need not be there yet; nothing is left."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        return f"{folder}: cannot be written, since {there} is a file"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"{folder}: cannot be written (no permission)"
    try:
        with TemporaryFile(dir=there):
            return None
    except OSError as error:  # of a file system that takes no files, whatever the permissions say
        return f"{folder}: cannot be written: {error.strerror or error}"


def refuse_file_name(folder: Path, what: str) -> None:
    """Raises OutputError for a folder to be made that is named like a file. what: that --out is, `a folder for …`."""
    if folder.suffix.lower() in FILE_SUFFIXES and not folder.is_dir():
        raise OutputError(f"{folder}: --out is {what}; no folder is made with {folder.suffix} at its end")


def is_json_with(path: Path, keys: set[str]) -> bool:
    """Whether the file is a JSON object that has these keys, as what a command of ours has written there."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and keys <= set(found)


def digest(path: Path) -> str:
    """blake2b-128 of the file's bytes, 32 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def text_digest(text: str) -> str:
    """blake2b-128 of the text as UTF-8, 32 hex digits."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
