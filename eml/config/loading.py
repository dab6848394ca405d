"""Reading a config."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from eml.config.error_messages import explain
from eml.config.locations import SourceLocation, lines
from eml.config.overrides import Overrides
from eml.config.paths import Source, absolute
from eml.config.text import listed, shown
from eml.config.yaml_reader import Document, read
from eml.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)


def load(model: type[Model], path: Path | str, overrides: Sequence[str] = ()) -> Model:
    """The config in the YAML file `path`, changed by overrides (`margin.m=0.3`), validated.

    An override's value is YAML; its key may hold list indices (`losses.0.gamma=2`); a section that is missing is
    created from its default; a family's `type` clears the rest of its section.
    Raises ConfigError with all problems at once, each with its file and line or its `--set`.
    """
    path = Path(path)
    document = _read_file(path)
    if not isinstance(document.value, dict):
        raise ConfigError(f"{document.origins[()].text}: {_no_section(model, document)}")
    changes = Overrides(model, document.value, document.origins)
    for item in overrides:
        changes.apply(item)
    problems = document.problems + changes.problems
    config, error = None, None
    try:
        config = model.model_validate(document.value, context=Source(absolute(path.parent)))
    except ValidationError as caught:
        error = caught
    problems += explain(error, model, document.value, document.origins)
    if config is None or problems:
        raise ConfigError(lines(problems)) from None
    return config


def _read_file(path: Path) -> Document:
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder; give the config file in it")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{content[error.start]:02x} at offset {error.start}"
        raise ConfigError(f"{path}:{line}: is not UTF-8 text ({found}); save it as UTF-8") from None
    return read(text, lambda line: SourceLocation(0, line, f"{path}:{line}"))


def _no_section(model: type[BaseModel], document: Document) -> str:
    required = [key for key, field in model.model_fields.items() if field.is_required()]
    if document.value is not None:
        return f"must be a section (key: value), got {shown(document.value)}"
    return f"is empty; required: {listed(required)}" if required else "is empty; write {} to take every default"
