"""Paths in configs: relative to the file that holds them, or to the current folder when given on the command line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, ValidationInfo


@dataclass(frozen=True)
class Source:
    """The validation context: the folder of the config file that is being read."""

    folder: Path


class OverrideText(str):
    """Text from a `--set`, not from the file."""

    __slots__ = ()


def absolute(path: Path) -> Path:
    """The path from the root; links stay unless it holds `..`, which after a link leads elsewhere than it looks."""
    path = path.absolute()
    return path.resolve() if ".." in path.parts else path


def _absolute(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, str | Path):
        return value  # pydantic refuses it
    if not str(value).strip():
        raise ValueError("must not be empty")
    try:
        path = Path(value).expanduser()
    except RuntimeError:
        raise ValueError(f"names a home folder that is not known, got {str(value)!r}") from None
    if isinstance(info.context, Source) and not isinstance(value, OverrideText):
        path = info.context.folder / path
    return absolute(path)


ConfigPath = Annotated[Path, BeforeValidator(_absolute)]
"""A path that is absolute once read; the field is a plain Path to the type checker.

In a file it is relative to the file's folder, in a `--set` or in Python to the current folder; `~` is the home folder.
A default that is not None counts as written in the file, unless a default section holds it.
"""
