"""Paths in configs: relative to the file that contains them, or to the current folder in an override."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, ValidationInfo

from eml.config.text import shown
from eml.files import NO_PATH, is_path, is_utf8
from eml.storage import as_place, is_remote, is_url


@dataclass(frozen=True)
class ConfigFolder:
    """The validation context: the folder of the config file that is read; of a stream the current folder."""

    path: Path


class OverrideText(str):
    """Text from an override, not from the file."""

    __slots__ = ()


def absolute(path: Path) -> Path:
    """Make a path absolute. Links stay, unless it contains `..`, which after a link leads elsewhere than it looks."""
    path = path.absolute()
    return path.resolve() if ".." in path.parts else path


def check_path(path: Path | str) -> Path:
    """Return the path. Raises ValueError, which continues the parameter's name, where no file can be called so, or
    where the name is not UTF-8, so that no table and no page could hold it.
    """
    if not is_path(str(path)):
        raise ValueError(f"is {NO_PATH}, got {shown(str(path))}")
    if not is_utf8(str(path)):
        name = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise ValueError(
            f"must be valid UTF-8, since tables, configs and pages hold names as text, got {name}. Rename the folder "
            "or file"
        )
    return path if isinstance(path, Path) else Path(path)


def _absolute(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, str | Path):
        return value  # pydantic refuses it
    if not str(value).strip():
        raise ValueError("must not be empty")
    if is_url(value):
        place = as_place(value)
        if is_remote(place):
            return place
        value = place
    check_path(value)
    try:
        path = Path(value).expanduser()
    except RuntimeError:
        raise ValueError(f"names an unknown home folder, got {str(value)!r}") from None
    if isinstance(info.context, ConfigFolder) and not isinstance(value, OverrideText):
        path = info.context.path / path
    return check_path(absolute(path))


def _absolute_after(value: object, info: ValidationInfo) -> object:
    """Make the path after FOLDER_PREFIX absolute; a text without that stays as it is."""
    if not isinstance(value, str) or FOLDER_PREFIX not in value:
        return value
    before, _, path = value.partition(FOLDER_PREFIX)
    return f"{before}{FOLDER_PREFIX}{_absolute(type(value)(path), info)}"


FOLDER_PREFIX = "local-dir:"
"""Stands before the path of a folder in names, such as those of networks."""
NameOrFolder = Annotated[str, BeforeValidator(_absolute_after)]
"""A name; a path in it, after `local-dir:`, is absolute once read, as a `ConfigPath` is."""
ConfigPath = Annotated[Path, BeforeValidator(_absolute)]
"""A path that is absolute once read; the field is a plain Path to the type checker.

In a file it is relative to the file's folder, in an override or in Python to the current folder; `~` is the home
folder. A default other than None is relative to the file's folder, unless it stands in a default section.
"""
