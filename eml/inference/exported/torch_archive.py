"""Archives of torch.export and TorchScript, which are ZIP files: their facts and digest, read without torch."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
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
_OWN_FILES = re.compile(
    r"[^/]+/(\.data/(version|serialization_id)|\.format_version|\.storage_alignment|archive_(format|version)|version"
    rf"|byteorder|models/model\.json|{_EXTRA}|data/(weights/(model_weights_config\.json|weight_\d+|model\.pt)"
    r"|constants/(model_constants_config\.json|tensor_\d+|model\.pt)|sample_inputs/model\.pt))"
    r"|version|serialized_(exported_program\.json|(state_dict|constants|example_inputs)\.pt)"  # torch 2.6 and 2.7
)
_TENSOR = re.compile(r"(weight|tensor)_\d+")
_NAME = re.compile(r"[\w.:+\- ]*")
_FILES = re.compile(r"\b(save|from_file|__setstate__)\b(?=\s*\()|\btorch\.classes\b")
_LINE = re.compile(r"[^\n\r\\]*")
_PLAIN = {
    # of sympy: classes, symbols and whether they are positive; its functions and Python's begin with a small letter
    "expr_str": re.compile(r"([A-Z]\w*|'?\b[a-z]{1,4}\d+\b'?|\b[a-z]+=(True|False)|[-+*/%(), <>=&|~!]|\b\d+(\.\d+)?)*"),
    "target": re.compile(r"(?!.*from_file)[\w.]*"),
    "guards_code": re.compile(r"(L\['\w+'\]|\.size\(\)|\[\d+\]|[A-Z]\w*|\b(and|or|not)\b|[-+*/%(), <>=!]|\b\d+)*"),
    **dict.fromkeys(
        ("in_spec", "out_spec"),
        re.compile(r'("(type|context|children_spec|builtins\.(tuple|list|dict)|null|\[\])"|null|[\[\]{},: 0-9])*'),
    ),
    **dict.fromkeys(("nn_module_stack", "torch_fn", "stack_trace", "as_string"), _LINE),
}
"""Key of a graph → texts that are allowed under it; under any other a name."""


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
    """Raise a CheckpointError for an archive of torch.export with more than a graph and plain weights.

    torch reads whatever it finds in one: pickled objects under several names, compiled libraries, and expressions that
    it evaluates. Reading those can run code. An archive of `eml export` has none.
    """

    def strange(archive: ZipFile) -> list[str]:
        names = [entry.filename for entry in archive.infolist()]
        strangers = [name for name in names if not _OWN_FILES.fullmatch(name) or names.count(name) > 1]
        for entry in () if strangers else archive.infolist():
            if _inner(entry).endswith("_config.json"):
                for name, payload in json.loads(archive.read(entry)).get("config", {}).items():
                    plain = payload.get("use_pickle", True) is False and _TENSOR.fullmatch(payload["path_name"])
                    strangers += [] if plain else [name]
            elif entry.filename.endswith(".json"):
                strangers += [text for key, text in _texts(json.loads(archive.read(entry))) if not _is_plain(key, text)]
        return strangers

    if strangers := _opened(path, strange):
        text = f"{path}: holds more than a graph and weights, such as pickled objects ({strangers[0][:60]!r}), "
        raise CheckpointError(text + "which can run code when they are read; export it again", code="damaged-file")


def refuse_programs_with_files(path: Path) -> None:
    """Raise a CheckpointError for TorchScript that reads or writes files, or runs something while it is loaded."""

    def own_files(archive: ZipFile) -> list[str]:
        scripts = [entry for entry in archive.infolist() if re.fullmatch("code/.*[.]py", _inner(entry))]
        code = [archive.read(entry).decode() for entry in scripts]
        return [match[0] for text in code for match in _FILES.finditer(text)]

    if calls := _opened(path, own_files):
        text = f"{path}: its program reads or writes files, or runs something while it is loaded ({calls[0]}); export "
        raise CheckpointError(text + "the checkpoint again", code="damaged-file")


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield each text of a JSON value with the key it is under, and each key under the key \"\"."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, key)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield "", name
            yield from _texts(item, name)


def _is_plain(key: str, text: str) -> bool:
    """Return whether torch makes no code of a text of a graph but what the graph needs."""
    return bool(_PLAIN.get(key, _NAME).fullmatch(text))


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
