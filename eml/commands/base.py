"""The parts of every command: a config, a function of it, and a typed result."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, TypeVar, Union, cast, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo
from pydantic.fields import FieldInfo

from eml.commands.with_plugins import given_plugins
from eml.errors import ConfigError, Problem
from eml.files import as_argument
from eml.images.image_size import ImageSize, size_word
from eml.imported import is_imported
from eml.progress import Progress, Report, no_progress
from eml.storage.remembered import remembering
from eml.storage.remote_path import as_place, is_remote, is_url

_CODES = {  # of pydantic's errors; all others are of the type
    "literal_error": "unknown-choice",
    "greater_than": "out-of-range",
    "greater_than_equal": "out-of-range",
    "less_than": "out-of-range",
    "less_than_equal": "out-of-range",
}
_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "string": "text", "path": "a path"}
"""What begins the type of pydantic's errors of a value of another kind → the kind in plain words."""

if TYPE_CHECKING:
    from eml.distributed.processes import Processes
    from eml.training.events import Observer


class CommandConfig(BaseModel):
    """The options of a command, described once: Python's parameters, the command line and `--config FILE` follow.

    The docstring is the command's help. A parameter that a text refers to stands in backquotes, `overwrite` or
    `by="ratio"`; the command line writes it as its option.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, arbitrary_types_allowed=True)


def as_path(value: object, info: ValidationInfo) -> object:
    """Return the path; one in a file is relative to the file's folder, any other to the current folder."""
    if not isinstance(value, str | Path):
        return value
    if not str(value).strip():
        raise ValueError("must not be empty")
    from eml.config.paths import ConfigFolder, OverrideText, check_path

    if is_url(value):
        place = as_place(value)
        if is_remote(place):
            return place
        value = place
    check_path(value)
    path = Path(os.path.expanduser(value))  # noqa: PTH111 - a Path would refuse the home of an unknown user
    if isinstance(info.context, ConfigFolder) and not isinstance(value, OverrideText):
        path = info.context.path / path
    check_path(path.absolute())
    return path


def several(value: Any) -> Any:
    """Return a single value as a list of one, and None as an empty one."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str | Path | int) else value


def _as_text(value: object) -> object:
    """Return a path as text."""
    if not isinstance(value, str | Path):
        return value
    from eml.config.paths import check_path

    check_path(as_place(value) if is_url(value) else value)
    return str(value)


PathField = Annotated[Path, BeforeValidator(as_path)]
"""A path: relative to the current folder, or to the folder of the file that it is read from."""
Paths = Annotated[tuple[PathField, ...], BeforeValidator(several)]


def as_image_name(value: object, info: ValidationInfo) -> object:
    """Return the path or pattern of images as `as_path` does; `-`, which stands for stdin, stays."""
    return Path("-") if value == "-" else as_path(value, info)


ImagePaths = Annotated[tuple[Annotated[Path, BeforeValidator(as_image_name)], ...], BeforeValidator(several)]
"""Folders, tables, patterns or files of images, or `-`."""
Names = Annotated[tuple[str, ...], BeforeValidator(several)]
Counts = Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(several)]
PathText = Annotated[str, BeforeValidator(_as_text)]
"""A path, or a name such as timm:resnet50 or NAME=DATASET."""
PathTexts = Annotated[tuple[PathText, ...], BeforeValidator(several)]


def option(default: Any, description: str, *, name: str | None = None, **constraints: Any) -> Any:
    """Return a field. name: of the command line's option, where it is not the field's own."""
    extra: dict[str, Any] | None = {"option": name} if name else None
    return Field(default, description=description, json_schema_extra=extra, **constraints)


def option_name(name: str, field: FieldInfo) -> str:
    """Return the option of the command line for a field: `test_ratio` is `--test-ratio`."""
    extra = field.json_schema_extra
    own = extra.get("option") if isinstance(extra, Mapping) else None
    return "--" + str(own or name).replace("_", "-")


def negative_option(name: str) -> str:
    """Return the option that says no: `--no-near` of `--near`."""
    return "--no-" + name.removeprefix("--")


@contextmanager
def _no_checks() -> Iterator[None]:
    yield


@contextmanager
def _join(device: str, processes: Processes) -> Iterator[Processes]:
    from eml.distributed.processes import join

    with join(device, processes):
        yield processes


@dataclass(frozen=True)
class Caller:
    """Who runs a command: where notes, warnings and progress go while it works.

    Args:
        note: Is called with a line that informs, such as which table is read.
        warn: Is called with a line that should not be overlooked.
        progress: Makes progress bars.
        command: The command as typed, which is written beside the files that are made; None: made from the config.
        live: Makes a view of a training run that takes its events; None: progress shows them.
        step: Is called with the name and result of each command that runs inside this one.
        checks: Wraps what is checked before several processes meet.
        join: Lets several processes meet.
    """

    note: Report = lambda line: None
    warn: Report = lambda line: None
    progress: Progress = no_progress
    command: str | None = None
    live: Callable[[], AbstractContextManager[Observer]] | None = None
    step: Callable[[str, CommandResult], None] = lambda name, result: None
    checks: Callable[[], AbstractContextManager[None]] = _no_checks
    join: Callable[[str, Processes], AbstractContextManager[Processes]] = _join


SILENT = Caller()

Cell = str | int | float | None
MOST_LINES = 3
"""More messages of a result are folded away in a notebook."""
SummaryTable = tuple[Sequence[str], Sequence[Sequence[Cell]]]
"""The columns and rows of a table."""


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class CommandResult:
    """The base of every command's result.

    Attributes:
        written: Files that were written, in the order in which they should be looked at.
        replaced: Those of them that replaced an older file.
        removed_files: Files of an earlier run of a command that no longer belong to what is there now.
        next_command: The command that usually follows, ready to be pasted.
        later_commands: Those after it.
        messages: The notes and warnings that the command gave while it worked.
    """

    written: tuple[Path, ...] = ()
    replaced: tuple[Path, ...] = ()
    removed_files: tuple[Path, ...] = ()
    next_command: str | None = None
    later_commands: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()

    def to_upload(self) -> tuple[Path, ...]:
        """Return the files and folders that are the result, which `upload_to` copies."""
        return self.written

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints: plain numbers, text, lists and dictionaries."""
        raise NotImplementedError

    def summary(self) -> str:
        """Return the result in a line, for its repr."""
        return ", ".join(str(path) for path in self.written)

    def summary_table(self) -> SummaryTable | None:
        """Return columns and rows of the main table; None where the result has none."""
        return None

    def cautions(self) -> tuple[str, ...]:
        """Return what to know before the result is believed, a line each."""
        return ()

    def __repr__(self) -> str:
        """`SplitResult(train: 2,640 images of 41 classes, …)`."""
        return f"{type(self).__name__}({self.summary()})"

    def _repr_html_(self) -> str:
        """Return the result as a notebook shows it: the table, and below it what to know of it."""
        head = f"<p><code>{escape(repr(self))}</code></p>"
        below = "".join(f"<p>{escape(line)}</p>" for line in self.cautions())
        lines = "".join(f"<p>{escape(line)}</p>" for line in self.messages)
        folded = f"<details><summary>{len(self.messages):,} messages</summary>{lines}</details>"
        below += folded if len(self.messages) > MOST_LINES else lines
        if (table := self.summary_table()) is None:
            return head + below
        return head + table_html(*table) + below


def table_html(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Return a table as a notebook shows it; all text is escaped."""
    heading = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell_text(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{heading}</tr></thead><tbody>{body}</tbody></table>"


def cell_text(value: object) -> str:
    """Return a table's cell as text: `5,421`, nothing for None."""
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else str(value)


def span_text(low: int, high: int) -> str:
    """Return `35 to 143`, or `8` where both are 8."""
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


Config = TypeVar("Config", bound=CommandConfig)
Result = TypeVar("Result", bound=CommandResult)
ResultOut = TypeVar("ResultOut", bound=CommandResult, covariant=True)


class CommandFunction(Protocol[ResultOut]):
    """A command as a Python function, with what the command line needs of it."""

    __name__: str
    config_type: type[CommandConfig]
    arguments: tuple[str, ...]
    command: str
    others: str | None
    run: Callable[[Any, Caller], Any]

    def __call__(self, *arguments: Any, progress: Progress | bool | None = None, **fields: Any) -> ResultOut:
        """Run the command."""


def command(
    config_type: type[Config], *, arguments: tuple[str, ...] = (), others: str | None = None, name: str | None = None
) -> Callable[[Callable[[Config, Caller], Result]], CommandFunction[Result]]:
    """Make a public function of one that takes a config and its caller.

    The function takes the config, or its fields: those named in `arguments` by position too. `progress` is True for
    bars on stderr, or a function such as `eml.progress.bars`. It prints nothing else. others: the field that takes
    any further `key=value`, as `--set` does. name: of the command, where it is not the function's.
    """

    def wrap(run: Callable[[Config, Caller], Result]) -> CommandFunction[Result]:
        run_with_plugins = _with_plugins(run)
        line = name or run.__name__

        def function(*positional: Any, progress: Progress | bool | None = None, **fields: Any) -> Result:
            config = _config_of(
                config_type, run.__name__, arguments, positional, _with_others(config_type, positional, fields, others)
            )
            messages: list[str] = []
            caller = Caller(messages.append, messages.append, _bars(progress), command_text(line, config, arguments))
            return replace(run_with_plugins(config, caller), messages=tuple(messages))

        function.__name__ = function.__qualname__ = run.__name__
        function.__module__ = run.__module__
        function.__doc__ = _docstring(config_type, run)
        public = cast(Any, function)
        public.__signature__ = _signature(config_type, arguments)
        public.config_type, public.arguments, public.run = config_type, arguments, run_with_plugins
        public.command, public.others = line, others
        return cast(CommandFunction[Result], function)

    return wrap


def _with_plugins(run: Callable[[Config, Caller], Result]) -> Callable[[Config, Caller], Result]:
    """Return a command's function that imports what its field `plugins` names before anything else.

    The commands that follow are given the plugins too.
    """

    @wraps(run)
    def run_with_plugins(config: Config, caller: Caller) -> Result:
        if names := getattr(config, "plugins", ()):
            from eml.config.plugins import load_plugins

            with caller.checks():
                load_plugins(names, report=caller.note)
        upload_to = getattr(config, "upload_to", None)
        if upload_to is not None:
            from eml.commands.with_upload import check_upload

            with caller.checks():
                check_upload(upload_to, overwrite=bool(getattr(config, "overwrite", False)))
        with _exits_refused(), remembering():
            result = run(config, caller)
        if upload_to is not None:
            from eml.commands.with_upload import upload_result

            overwrite = bool(getattr(config, "overwrite", False))
            upload_result(
                result.to_upload(), upload_to, overwrite=overwrite, report=caller.note, progress=caller.progress
            )
        first, *later = map(given_plugins, (result.next_command, *result.later_commands))
        return replace(result, next_command=first, later_commands=tuple(filter(None, later)))

    return run_with_plugins


@contextmanager
def _exits_refused() -> Iterator[None]:
    """Do what `plugins.exits_refused` does, without importing it where no plugin can be loaded."""
    try:
        yield
    except SystemExit as error:
        if not is_imported("eml.config.plugins"):
            raise
        from eml.config.plugins import exits_refused

        with exits_refused():
            raise error


def _with_others(
    config_type: type[CommandConfig], positional: Sequence[Any], fields: Mapping[str, Any], others: str | None
) -> Mapping[str, Any]:
    """Return the fields with those that the config does not have as `key=value` in the field `others`."""
    unknown = {name: value for name, value in fields.items() if name not in config_type.model_fields}
    if others is None or not unknown:
        return fields
    known = {name: value for name, value in fields.items() if name not in unknown}
    pairs = [f"{name}={json.dumps(value, default=str)}" for name, value in unknown.items()]
    has_config = bool(positional) and isinstance(positional[0], config_type)
    first = getattr(positional[0], others) if has_config and others not in known else known.get(others)
    return known | {others: (*several(first), *pairs)}


def validated(config_type: type[Config], values: Mapping[str, Any]) -> Config:
    """Return the config of these values. Raises ConfigError with a problem for each that is wrong."""
    try:
        return config_type(**values)
    except ValidationError as error:
        raise ConfigError(
            [problem for details in error.errors() for problem in _problems(config_type, details)]
        ) from None


def command_text(name: str, config: CommandConfig, arguments: Sequence[str] = ()) -> str:
    """Return the line that runs the same command in a terminal."""
    words, options = ["eml", *name.split()], []
    for key, field in type(config).model_fields.items():
        value = getattr(config, key)
        if key in arguments:
            words += _argument_words(value)
        elif value != field.get_default(call_default_factory=True):
            word = size_word(value) if value is not None and is_size(field.annotation) else value
            options += _option_words(option_name(key, field), word)
    return shlex.join([*words, *options])


def is_size(annotation: Any) -> bool:
    """Return whether a field is the size of images, which is one text on the command line: 160 or 256x128."""
    return any(branch == ImageSize for branch in get_args(annotation))


def _argument_words(value: Any) -> list[str]:
    items = value if isinstance(value, tuple) else (value,)
    return [word for item in items for word in ([as_argument(item)] if isinstance(item, Path) else _words(item))]


def _words(value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, tuple):
        return [_word(item) for item in value]
    return [_word(value)]


def _word(value: object) -> str:
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _option_words(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [name if value else negative_option(name)]
    return [word for item in _words(value) for word in (name, item)]


def _config_of(
    config_type: type[Config],
    name: str,
    arguments: Sequence[str],
    positional: Sequence[Any],
    fields: Mapping[str, Any],
) -> Config:
    if positional and isinstance(positional[0], config_type):
        if len(positional) > 1:
            raise TypeError(f"{name}() takes a {config_type.__name__} and fields by name")
        if not fields:
            return positional[0]
        return validated(config_type, {**dict(positional[0]), **fields})
    if len(positional) > len(arguments):
        several = bool(arguments) and get_origin(config_type.model_fields[arguments[-1]].annotation) is tuple
        hint = f"; give `{arguments[-1]}` as a list" if several else ""
        raise TypeError(f"{name}() takes {len(arguments)} positional arguments, got {len(positional)}{hint}")
    values = dict(zip(arguments, positional, strict=False))
    if twice := sorted(values.keys() & fields.keys()):
        raise TypeError(f"{name}() got {', '.join(twice)} twice")
    return validated(config_type, {**values, **fields})


def _problems(config_type: type[CommandConfig], details: Any) -> list[Problem]:
    """Return one of pydantic's errors as lines that name the parameter."""
    from eml.config.text import did_you_mean, listed, shown

    place = [str(part) for part in details["loc"] if not isinstance(part, int)]
    name = place[0] if place else None
    if details["type"] == "extra_forbidden" and name:
        known = list(config_type.model_fields)
        return [
            Problem(f"unknown parameter `{name}`{did_you_mean(name, known)}; known: {listed(known)}", "unknown-key")
        ]
    if details["type"] == "missing":
        return [Problem(f"`{name}` is missing", "missing-key", name)]
    message = details["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if details["type"] == "value_error":
        if name is not None:
            return [Problem(f"`{name}` {message}", "invalid-value", name)]
        return [Problem(line, "conflicting-settings", _first_parameter(line)) for line in message.splitlines()]
    code = _CODES.get(details["type"], "wrong-type")
    kind, _, fault = details["type"].partition("_")
    if fault in ("type", "parsing", "from_float", "parsing_size"):
        message = _KINDS.get(kind, message)
    return [Problem(f"`{name}` must be {message}, got {shown(details['input'])}", code, name)]


def _first_parameter(text: str) -> str | None:
    """Return the first parameter that a text names in backquotes."""
    match = re.search(r"`(\w+)", text)
    return match[1] if match else None


def _bars(progress: Progress | bool | None) -> Progress:
    if callable(progress):
        return progress
    if progress not in (True, False, None):
        raise TypeError(f"progress must be True, False or a function that makes bars, got {progress!r}")
    if progress:
        from eml.progress import bars

        return bars
    return no_progress


def type_text(annotation: Any) -> str:
    """Return a field's type as Python code, as a caller may give it: paths are text too, several values may be one."""
    if annotation is Any or annotation is None:
        return "Any"
    if annotation is type(None):
        return "None"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation == ImageSize:
        return "int | Sequence[int] | str"
    if origin is Annotated:
        return "str | Path" if annotation == PathText else type_text(arguments[0])
    if origin in (Union, types.UnionType):
        return " | ".join(type_text(branch) for branch in arguments)
    if origin is Literal:
        choices = ", ".join(json.dumps(choice) for choice in arguments)
        return f"Literal[{choices}]"
    if origin is tuple:
        item = type_text(arguments[0])
        return f"{item} | Sequence[{item}]"
    return "str | Path" if annotation is Path else str(annotation.__name__)


def _signature(config_type: type[CommandConfig], arguments: Sequence[str]) -> inspect.Signature:
    parameters = []
    for name, field in config_type.model_fields.items():
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if name in arguments else inspect.Parameter.KEYWORD_ONLY
        default = inspect.Parameter.empty if field.is_required() else field.get_default(call_default_factory=True)
        parameters.append(inspect.Parameter(name, kind, default=default, annotation=type_text(field.annotation)))
    parameters.sort(key=lambda parameter: (parameter.kind, parameter.default is not inspect.Parameter.empty))
    progress = inspect.Parameter("progress", inspect.Parameter.KEYWORD_ONLY, default=None)
    return inspect.Signature([*parameters, progress])


def _docstring(config_type: type[CommandConfig], run: Callable[..., Any]) -> str:
    lines = [inspect.cleandoc(config_type.__doc__ or ""), "", "Args:"]
    lines += [f"    {name}: {field.description}" for name, field in config_type.model_fields.items()]
    lines += ["    progress: True shows bars on stderr; or a function that makes them."]
    returns = inspect.signature(run).return_annotation
    lines += ["", "Returns:", f"    {returns if isinstance(returns, str) else returns.__name__}."]
    return "\n".join(lines)
