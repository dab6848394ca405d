"""Reading a config."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from eml.config.error_messages import MOST_PROBLEMS, explain_errors
from eml.config.locations import ConfigProblem, SourceLocation, located, nearest_location
from eml.config.overrides import Overrides
from eml.config.paths import ConfigFolder, OverrideText, absolute
from eml.config.plugins import load_plugins
from eml.config.renamed import normalise_section
from eml.config.text import listed, shown
from eml.config.yaml_reader import Document, read_yaml
from eml.errors import ConfigError, Problem
from eml.files import NO_PATH, is_path, refuse_pipe
from eml.units import MIB

MOST_BYTES = MIB  # of a config
_STREAMS = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")  # the process's own, as of a shell's <(command)
Model = TypeVar("Model", bound=BaseModel)


PLUGINS = "plugins"
"""The key of a config that names plugins, if its model has it."""


def load(
    model: type[Model],
    path: Path | str,
    overrides: Sequence[str] = (),
    *,
    override_name: str = "override",
    import_plugins: bool = True,
) -> Model:
    """Read and validate the config in a YAML file, after the plugins that it names were imported.

    Args:
        model: The config's model.
        path: The YAML file.
        overrides: Changes such as `margin.m=0.3`. The value is YAML; the key may contain list indices
            (`losses.0.gamma=2`). A section that is missing is created from its default; a family's `type` clears the
            rest of its section; `null` for a key that cannot be null takes the key out, so that its default counts.
        override_name: What errors call an override.
        import_plugins: Whether to import what the config names as `plugins`; not of a config that is not the user's.

    Raises:
        ConfigError: All problems at once, each with its file and line or its override; those of plugins alone where
            there are such, since others follow from them.
    """
    path = Path(path)
    document, changes = _changed_document(model, path, overrides, override_name, import_plugins=import_plugins)
    problems = document.problems + changes.problems
    problems += normalise_section(model, document.value, document.locations)
    config, error = None, None
    try:
        config = model.model_validate(document.value, context=ConfigFolder(_folder(path)))
    except ValidationError as caught:
        error = caught
    explained, more = explain_errors(error, model, document.value, document.locations)
    problems += explained
    if config is None or problems:
        raise ConfigError(_first_of(path, located(problems), more)) from None
    return config


def with_places(
    problems: Iterable[Problem],
    model: type[BaseModel],
    path: Path,
    overrides: Sequence[str] = (),
    *,
    override_name: str = "override",
) -> list[Problem]:
    """Return problems of settings that go together wrongly, with the file and line, or the override, of each.

    Args:
        problems: Those that were raised of the config after it was read. The ones that begin with the key that they are
            about get its place, where the file or an override has that key.
        model, path, overrides, override_name: As the config was read.
    """
    document, changes = _changed_document(model, path, overrides, override_name)
    normalise_section(model, document.value, changes.locations)
    placed = []
    for problem in problems:
        key = problem.parameter or ""
        place = changes.locations.get(tuple(key.split(".")))
        if place is not None and problem.startswith((f"{key}:", f"{key} ")):
            problem = Problem(f"{place.text}: {problem}", problem.code, problem.parameter)
        placed.append(problem)
    return placed


def _changed_document(
    model: type[BaseModel],
    path: Path,
    overrides: Sequence[str],
    override_name: str,
    *,
    import_plugins: bool = False,
) -> tuple[Document, Overrides]:
    """Return the values of a file with the overrides applied, and what applied them.

    Plugins are imported before the other overrides are applied, which may be about members that plugins define.
    """
    document = read_document(path)
    if not isinstance(document.value, dict):
        raise ConfigError(f"{document.locations[()].text}: {_no_section(model, document)}", code="wrong-type")
    changes = Overrides(model, document.value, document.locations, override_name)
    first = [item for item in overrides if item.partition("=")[0].partition(".")[0].strip() == PLUGINS]
    for item in first:
        changes.apply(item)
    if import_plugins and PLUGINS in model.model_fields:
        _import_plugins(document, _folder(path))
    for item in [item for item in overrides if item not in first]:
        changes.apply(item)
    return document, changes


def _import_plugins(document: Document, folder: Path) -> None:
    """Import the plugins of a config. Raises ConfigError with the file and line, or the override, of each problem."""
    names = document.value.get(PLUGINS)
    listed_names = names if isinstance(names, list) else [names]
    problems: list[ConfigProblem] = []
    for place, name in enumerate(listed_names):
        if not isinstance(name, str):
            continue  # which the config's own check reports
        try:
            load_plugins(name, folder=None if isinstance(name, OverrideText) else folder)
        except ConfigError as error:
            where = nearest_location(document.locations, (PLUGINS, place))
            for problem in error.problems:
                text = problem.removeprefix(f"`{PLUGINS}`: ")
                problems.append(ConfigProblem(where, f"{PLUGINS}: {text}", problem.code, PLUGINS))
    if problems:
        raise ConfigError(located(problems))


def _folder(path: Path) -> Path:
    """Return the folder that the file's paths are relative to: its own, or the current one for a stream of a shell."""
    return absolute(Path() if str(path).startswith(_STREAMS) else path.parent)


def _first_of(path: Path, problems: list[Problem], more: int) -> list[Problem]:
    """Return the first problems, and a line with the number of the others; more: those that are not among them."""
    if more := more + max(0, len(problems) - MOST_PROBLEMS):
        text = f"{path}: and {more:,} more problems like these"
        return [*problems[:MOST_PROBLEMS], Problem(text, "more-problems")]
    return problems


def read_document(path: Path) -> Document:
    """Return the values of a YAML file, unchecked; its size, its depth and what its aliases make are bounded.

    Raises:
        ConfigError: There is no such file, or it is no YAML.
    """
    if not is_path(str(path.absolute())):
        raise ConfigError(f"{shown(str(path))} is {NO_PATH}", code="missing-file")
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder; give the config file in it", code="not-a-file")
    try:
        if not str(path).startswith(_STREAMS):
            refuse_pipe(path)
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file", code="missing-file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}", code="not-readable") from None
    if len(content) > MOST_BYTES:
        text = f"{path}: has more than {MOST_BYTES // MIB} MiB, so it is no config"
        raise ConfigError(text, code="not-yaml")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = f"byte 0x{content[error.start]:02x} at offset {error.start}"
        raise ConfigError(f"{path}:{line}: is not UTF-8 text ({byte}); save it as UTF-8", code="not-utf-8") from None
    return read_yaml(text, lambda line: SourceLocation(0, line, f"{path}:{line}"))


def _no_section(model: type[BaseModel], document: Document) -> str:
    required = [key for key, field in model.model_fields.items() if field.is_required()]
    if document.value is not None:
        return f"must be a section (key: value), got {shown(document.value)}"
    return f"is empty; required: {listed(required)}" if required else "is empty; write {} to take every default"
