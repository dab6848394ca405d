"""Archives of torch.export and TorchScript, which are ZIP files: their facts and digest, read without torch."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TypeVar
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo
from zlib import error as ZlibError

from eml.errors import CheckpointError
from eml.files import refuse_pipe
from eml.inference.exported.facts import KEY

Content = TypeVar("Content")
_EXTRA = f"extra/{KEY}"
_SERIAL = ".data/serialization_id"
_DEBUG = ".debug_pkl"  # where in the source each line comes from, by paths of the machine that wrote it
_NO_ARCHIVE = (
    *(BadZipFile, ZlibError, EOFError, NotImplementedError),
    *(ValueError, KeyError, AttributeError, RuntimeError),
)
_MOST_FACTS = 1 << 26  # bytes


def facts_text(path: Path) -> str | None:
    """Return the facts in an archive as JSON; None without any.

    Raises:
        CheckpointError: The file cannot be read, or is no archive.
    """

    def read(archive: ZipFile) -> str | None:
        entry = next((entry for entry in archive.infolist() if _inner(entry) == _EXTRA), None)
        if entry is None:
            return None
        if entry.file_size > _MOST_FACTS:
            raise ValueError("its facts are too large")
        return archive.read(entry).decode()

    return _opened(path, read)


def archive_digest(path: Path) -> str:
    """Return blake2b-128 of all files in an archive but the facts, 32 hex digits.

    Raises:
        CheckpointError: The file cannot be read, or is no archive.
    """

    def digest(archive: ZipFile) -> str:
        hashed = hashlib.blake2b(digest_size=16)
        for entry in sorted(archive.infolist(), key=lambda entry: entry.filename):
            if _inner(entry) not in (_EXTRA, _SERIAL):
                hashed.update(f"{_inner(entry)}\0{entry.file_size}\0".encode())
                hashed.update(archive.read(entry))
        return hashed.hexdigest()

    return _opened(path, digest)


def refuse_pickled_objects(path: Path) -> None:
    """Raise a CheckpointError for an archive of torch.export with objects that torch would unpickle.

    Reading such objects can run code. An archive of plain weights has none.
    """

    def pickled(archive: ZipFile) -> list[str]:
        names = []
        for entry in archive.infolist():
            inner = PurePosixPath(_inner(entry))
            is_list = inner.parent.parent == PurePosixPath("data") and inner.name.endswith("_config.json")
            payloads = json.loads(archive.read(entry)).get("config", {}) if is_list else {}
            names += [name for name, payload in payloads.items() if payload.get("use_pickle", True)]
        return names

    if names := _opened(path, pickled):
        text = f"{path}: holds pickled objects ({names[0]}), which can run code when they are read; export it again"
        raise CheckpointError(text, code="damaged-file")


def put_facts(path: Path, text: str | None) -> None:
    """Write an archive anew with these facts, None for none, and without the paths of source files."""
    new = path.with_name(f"{path.name}.new")
    with ZipFile(path) as archive, ZipFile(new, "w", ZIP_STORED) as written:
        entries = archive.infolist()
        for entry in entries:
            if _inner(entry) != _EXTRA and not entry.filename.endswith(_DEBUG):
                written.writestr(ZipInfo(entry.filename), archive.read(entry))
        if text is not None:
            root = entries[0].filename.partition("/")[0]
            written.writestr(ZipInfo(f"{root}/{_EXTRA}"), text.encode())
    new.replace(path)


def _inner(entry: ZipInfo) -> str:
    """Return the name of a file within the archive's only folder."""
    return entry.filename.partition("/")[2]


def _opened(path: Path, read: Callable[[ZipFile], Content]) -> Content:
    try:
        refuse_pipe(path)
        with ZipFile(path) as archive:
            return read(archive)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}", code="damaged-file") from error
    except _NO_ARCHIVE as error:
        raise CheckpointError(f"{path}: is cut off, or no archive of torch", code="damaged-file") from error
