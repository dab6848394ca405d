"""Names that depend on what is installed or on files: backbones, columns of tables and of indices."""

import ast
import csv
import importlib.util
import json
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from eml.cli.completing.completions import Completion, Completions, of_words
from eml.cli.completing.tables import names_of

TIMM, OPEN_CLIP = "timm:", "open_clip:"
MOST_BYTES = 1 << 16  # of the first line of a table
_MODEL = re.compile(rb"^@register_model\s*\ndef (\w+)\(", re.MULTILINE)
_TAG = re.compile(rb"^\s*['\"](\w+\.[\w.]+)['\"]: ", re.MULTILINE)
_OF_IMAGES = {"file_name", "label", "width", "height", "hash", "content", "bytes", "format", "mode"}
"""Columns of each table that say nothing by which images are grouped."""


def backbones(typed: str) -> Completions:
    """Return backbones that begin with what is typed: where that is nothing the usual ones, of 1,300."""
    if typed.startswith(OPEN_CLIP):
        return Completions(tuple(_open_clip(typed)))
    prefix = Completion(OPEN_CLIP, "CLIP and SigLIP with their text towers", is_open=True)
    more = (prefix,) if OPEN_CLIP.startswith(typed) else ()
    if not typed:
        return Completions((*of_words(names_of("backbone"), "").words, *more))
    return Completions((*(Completion(name) for name in timm_names(typed)), *more))


def models(typed: str) -> Completions:
    """Return names of models without training, `timm:NAME` and `open_clip:ARCH/PRETRAINED`."""
    if typed.startswith(TIMM):
        return backbones(typed.removeprefix(TIMM)).after(TIMM)
    if typed.startswith(OPEN_CLIP):
        return backbones(typed)
    texts = {TIMM: "a network of timm without training", OPEN_CLIP: "a CLIP of open_clip without training"}
    return Completions(tuple(Completion(text, words, True) for text, words in texts.items() if text.startswith(typed)))


def timm_names(typed: str) -> list[str]:
    """Return timm's models that begin with what is typed, read from its files: importing it takes seconds.

    Names with the tags of weights are among them from a full stop on, or where one model is left.
    """
    names: set[str] = set()
    tags: set[str] = set()
    for folder in _folders_of("timm"):
        for file in (folder / "models").glob("*.py"):
            content = file.read_bytes()
            names.update(name.decode() for name in _MODEL.findall(content))
            tags.update(tag.decode() for tag in _TAG.findall(content))
    chosen = sorted(name for name in names if name.startswith(typed))
    of_weights = sorted(tag for tag in tags if tag.startswith(typed) and tag.partition(".")[0] in names)
    return chosen + of_weights if "." in typed or len(chosen) <= 1 else chosen


def _open_clip(typed: str) -> Iterator[Completion]:
    """Yield `open_clip:ARCH/`, and behind an architecture the names of its weights."""
    architecture, slash, _ = typed.removeprefix(OPEN_CLIP).partition("/")
    for folder in _folders_of("open_clip"):
        if slash:
            for tag in _tags_of(folder / "pretrained.py", architecture):
                if (text := f"{OPEN_CLIP}{architecture}/{tag}").startswith(typed):
                    yield Completion(text)
            continue
        for file in sorted((folder / "model_configs").glob("*.json")):
            if file.stem.startswith(architecture) and not file.stem.startswith("coca_"):
                yield Completion(f"{OPEN_CLIP}{file.stem}/", is_open=True)


def _tags_of(file: Path, architecture: str) -> list[str]:
    """Return the weights of an architecture by open_clip's file, whose dictionary names other dictionaries."""
    tables: dict[str, ast.expr] = {}
    for line in ast.parse(file.read_bytes()).body:
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
            tables.setdefault(line.targets[0].id, line.value)
    value = dict(_items(tables.get("_PRETRAINED"))).get(architecture)
    return [tag for tag, _ in _items(tables.get(value.id) if isinstance(value, ast.Name) else value)]


def _items(table: ast.expr | None) -> list[tuple[str, ast.expr]]:
    """Return the entries of a dictionary in a source, `{"a": b}` or `dict(a=b)`."""
    if isinstance(table, ast.Call):
        return [(word.arg, word.value) for word in table.keywords if word.arg]
    if not isinstance(table, ast.Dict):
        return []
    pairs = zip(table.keys, table.values, strict=True)
    return [(key.value, value) for key, value in pairs if isinstance(key, ast.Constant) and isinstance(key.value, str)]


def _folders_of(package: str) -> list[Path]:
    """Return the folder of a package, which is not imported; none where it is missing."""
    spec = importlib.util.find_spec(package)
    return [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []


def columns(source: str | None, typed: str, *, grouping: bool = True) -> Completions:
    """Return the columns of a table, or of the newest table of a folder, as far as they can be read quickly.

    grouping: Leave out those that every table has and that group nothing.
    """
    names = _columns_of(Path(os.path.expanduser(source))) if source else []  # noqa: PTH111
    return of_words([name for name in names if not (grouping and name in _OF_IMAGES)], typed)


def _columns_of(source: Path) -> list[str]:
    if (source / "index.sqlite").is_file():
        return _columns_of_index(source / "index.sqlite")
    if source.is_dir():
        tables = [source / f"{stem}.csv" for stem in names_of("table")]
        source = next((table for table in reversed(tables) if table.is_file()), source)
    if source.suffix.lower() != ".csv" or not source.is_file():
        return []
    with source.open(encoding="utf-8-sig", newline="") as file:
        return next(csv.reader([file.readline(MOST_BYTES)]), [])


def _columns_of_index(database: Path) -> list[str]:
    """Return the columns of an index; opened such that no file is written beside it."""
    with suppress(sqlite3.Error, ValueError, LookupError, TypeError):
        place = f"{database.absolute().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(place, uri=True)) as connection:
            (text,) = connection.execute("SELECT value FROM facts WHERE name = 'state'").fetchone()
        return ["label", "file_name", *(column["name"] for column in json.loads(text)["columns"])]
    return []
