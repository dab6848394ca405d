"""Templates of texts, and names of encoders, as they are written."""

from pathlib import Path
from string import Formatter

from pydantic import ValidationInfo

from eml.config.paths import ConfigFolder, OverrideText, absolute
from eml.files import is_path

LABEL = "label"
"""The field of a template that stands for the class's text."""


def fields_of(template: str) -> list[str]:
    """Return the names in braces in a template. Raises ValueError, which continues the parameter's name."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"has a brace without its partner in {template!r}; write {{{{ for a plain one") from error
    names = [name for _, name, _, _ in parts if name is not None]
    if any(spec or conversion for _, _, spec, conversion in parts) or any(set(name) & set(".[") for name in names):
        raise ValueError(f"may have names of columns in braces and nothing else, got {template!r}")
    if not all(names):
        raise ValueError(f"has braces without a name in {template!r}; write {{label}}")
    if not names:
        raise ValueError(f"has no {{label}} and no {{COLUMN}} in {template!r}, so that all classes have the same text")
    return names


def check_template(template: str) -> str:
    """Return the template. Raises ValueError where it cannot be filled."""
    fields_of(template)
    return template


def with_absolute_path(value: object, info: ValidationInfo) -> object:
    """Return the name of an encoder with its path absolute, if it has one: relative to the file that it stands in."""
    if not isinstance(value, str):
        return value
    start = Path.cwd()
    if isinstance(info.context, ConfigFolder) and not isinstance(value, OverrideText):
        start = info.context.path
    head, colon, rest = value.rpartition(":")
    if not rest or not is_path(rest):
        return str(value)
    try:
        path = start / Path(rest).expanduser()
    except RuntimeError:  # an unknown home folder
        return str(value)
    return f"{head}{colon}{absolute(path)}" if path.exists() else str(value)


def one_line(text: str) -> str:
    """Return a text on one line, without spaces around it."""
    return " ".join(text.split())
