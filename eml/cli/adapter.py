"""From a command's config to its command line: one option per field, its help from the field's description."""

import importlib
import inspect
import json
import os
import re
import shlex
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from eml.cli.exit_codes import CHECK_SAYS_NO, FIXABLE
from eml.cli.streams import is_interactive, stdout_may_close
from eml.commands.base import (
    Caller,
    CommandConfig,
    CommandFunction,
    CommandResult,
    command_text,
    is_size,
    negative_option,
    option_name,
    validated,
)
from eml.commands.sharded import ShardResult, SubmittedResult
from eml.errors import ConfigError, EmlError, Problem
from eml.storage.remote_path import is_url

CONFIG_HELP = "YAML file with any of these options; what stands on the command line wins."
JSON_HELP = "Print the result as one JSON object on stdout."
DEVICES_HELP = "Processes on this machine that share the work, one for each GPU."


@dataclass(frozen=True)
class Terminal:
    """A command as a terminal shows it.

    Args:
        function: The command.
        show: Prints the result on stdout.
        short: Field → its one-letter option.
        metavars: Field → what stands for its value in the help.
        says_no: (config, result) → whether the answer to a check is no, which is exit code 1.
        has_failures: result → whether parts of the work failed, of which the result tells; that is exit code 2.
        devices: Whether the command can run as several processes.
        config_file: Whether `--config FILE` gives options; not where `--config` is something else.
        ask: Makes the config by questions, where a person types the command in a terminal without options; it is given
            the arguments.
    """

    function: CommandFunction[Any]
    show: Callable[[Any], None]
    short: Mapping[str, str] = field(default_factory=dict)
    metavars: Mapping[str, str] = field(default_factory=dict)
    says_no: Callable[[Any, Any], bool] = lambda config, result: False
    has_failures: Callable[[Any], bool] = lambda result: False
    devices: bool = False
    config_file: bool = True
    ask: Callable[[Mapping[str, Any]], CommandConfig] | None = None

    @property
    def config_type(self) -> type[CommandConfig]:
        """The command's config."""
        return self.function.config_type

    @property
    def others(self) -> str | None:
        """The field that takes any other `--key value` as `key=value`."""
        return self.function.others

    def option(self, name: str) -> str:
        """Return the option of a field: `--set` of `overrides`."""
        return option_name(name, self.config_type.model_fields[name])


def terminal_of(name: str) -> Any:
    """Return the command of a first word, as its module under display has it: `serve-key` is in serve_key.py."""
    return importlib.import_module(f"eml.cli.display.{name.replace('-', '_')}").terminal


def typer_function(terminal: Terminal) -> Callable[..., None]:
    """Return the function that Typer makes a command of."""

    def call(context: typer.Context, **values: Any) -> None:
        from eml.cli.display import console

        as_json, devices = values.pop("json"), values.pop("devices", None)
        if devices is not None and devices > 1:
            from eml.cli.launching import launch

            launch(devices)
            return
        file = values.pop("config_file", None)
        try:
            config = None if as_json or file else _config_by_questions(terminal, context, values)
            config = config or _config_of(terminal, context, values, file)
            with console.results_hidden() if as_json else nullcontext():  # of the commands that run inside this one
                result = _run(terminal, context, config)
        except EmlError as error:
            error.problems = [Problem(in_options(line, terminal), line.code, line.parameter) for line in error.problems]
            error.args = ("\n".join(error.problems),)
            raise
        if _is_first():
            print_result(terminal, result, as_json=as_json)
        if terminal.says_no(config, result):
            raise typer.Exit(CHECK_SAYS_NO)
        if terminal.has_failures(result):
            raise typer.Exit(FIXABLE)

    parameters = [inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)]
    parameters += [_parameter(terminal, name, info) for name, info in terminal.config_type.model_fields.items()]
    if terminal.devices:
        parameters.append(_extra("devices", int | None, None, "--devices", DEVICES_HELP, metavar="N", min=1))
    if terminal.config_file:
        parameters.append(_extra("config_file", Path | None, None, "--config", CONFIG_HELP, metavar="FILE"))
    parameters.append(_extra("json", bool, False, "--json", JSON_HELP))
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    call.__doc__ = in_options(inspect.cleandoc(terminal.config_type.__doc__ or ""), terminal)
    return call


def print_result(terminal: Terminal, result: CommandResult, *, as_json: bool) -> None:
    """Print the result on stdout; what was written and what follows on stderr."""
    from eml.cli.display import console

    of_shards = isinstance(result, ShardResult | SubmittedResult)
    show: Callable[[Any], None] = _show_shards if of_shards else terminal.show
    with stdout_may_close():
        if as_json:
            with console.results_hidden():
                show(result)  # its warnings
            console.print_json(result.to_dict())
        else:
            show(result)
    console.written(result.written, result.replaced, result.removed_files, result.next_command, result.later_commands)


def _show_shards(result: ShardResult | SubmittedResult) -> None:
    """Print which shard was made, or which jobs make them."""
    from eml.cli.display import console

    console.table("", *result.summary_table())
    for line in result.cautions():
        console.warn(line)


def in_options(text: str, terminal: Terminal) -> str:
    """Return the text with parameters in backquotes as the command line writes them: `near=False` is `--no-near`."""
    fields = terminal.config_type.model_fields

    def written(match: re.Match[str]) -> str:
        name, value = match["name"], match["value"]
        if name not in fields:  # of another command, or no option at all
            return match[0].strip("`").replace('"', "")
        if name in terminal.function.arguments:
            return _metavar(terminal, name)
        spelling = option_name(name, fields[name])
        if value == "False":
            return negative_option(spelling)
        return spelling if value in (None, "True") else f"{spelling} {shlex.quote(value.strip(chr(34)))}"

    return re.sub(r"`(?P<name>\w+)(=(?P<value>[^`]*))?`", written, text)


def _run(terminal: Terminal, context: typer.Context, config: CommandConfig) -> Any:
    from eml.cli.display import console
    from eml.cli.launching import joined, report_error_once

    caller = Caller(
        command=str(context.meta["eml.command_line"]), checks=report_error_once, join=joined, live=_live_view
    )
    if _is_first():
        caller = replace(
            caller,
            note=lambda line: console.say(in_options(line, terminal)),
            warn=lambda line: console.warn(in_options(line, terminal)),
            progress=console.progress,
            step=_print_step,
        )
    return terminal.function.run(config, caller)


def _print_step(name: str, result: CommandResult) -> None:
    """Print the result of a command that ran inside another."""
    terminal = terminal_of(name)
    print_result(terminal, replace(result, next_command=None), as_json=False)  # the next one is known


def _is_first() -> bool:
    """Return whether this process is the one that speaks, of several that a launcher has started."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def _live_view() -> Iterator[Any]:
    """Yield what shows a training's events: a bar on a terminal, a line per validation everywhere."""
    from eml.cli.display.training import TrainingDisplay

    with TrainingDisplay(quiet=not _is_first()) as display:
        yield display.observe


def _config_of(
    terminal: Terminal, context: typer.Context, values: Mapping[str, Any], file: Path | None
) -> CommandConfig:
    fields = terminal.config_type.model_fields
    values_set = _values_set(context, values)
    if file is not None and not _is_empty(file):
        from eml.config import load

        options = [f"{name}={_as_yaml(value)}" for name, value in values_set.items()]
        try:
            return load(terminal.config_type, file, options, override_name="option")
        except ConfigError as error:
            if (text := _training_config(terminal, file)) is None:
                raise
            raise ConfigError(text, code="unknown-key") from error
    missing = [name for name, info in fields.items() if info.is_required() and name not in values_set]
    if missing:
        hint = ", or a --config FILE that has it" if terminal.config_file else ""
        raise ConfigError(
            [Problem(f"Missing {_needed(terminal, name)}{hint}", "missing-key", name) for name in missing]
        )
    return validated(terminal.config_type, values_set)


def _training_config(terminal: Terminal, file: Path) -> str | None:
    """Return what to do where a file with options for this command is a training config; None where it is none."""
    from eml.config.loading import read_document
    from eml.training.config import RunConfig

    fields, values = terminal.config_type.model_fields, read_document(file).value
    keys = [key for key in values if key in RunConfig.model_fields and key not in fields] if values else []
    if len(keys) < 2:
        return None
    text = f"{file}: is a training config ({', '.join(keys[:3])}), and --config takes the options of this command"
    text += "; give the plugins that it names as `plugins`" if "plugins" in fields else ""
    return f"{text}. Training configs go to eml train"


def _config_by_questions(terminal: Terminal, context: typer.Context, values: Mapping[str, Any]) -> CommandConfig | None:
    """Return the config that questions make; None for a command without, with options, or without a person."""
    values_set = _values_set(context, values)
    if terminal.ask is None or not values_set.keys() <= set(terminal.function.arguments) or not is_interactive():
        return None
    config = terminal.ask(values_set)
    context.meta["eml.command_line"] = command_text(terminal.function.command, config, terminal.function.arguments)
    return config


def _values_set(context: typer.Context, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands on the command line."""
    sources = {name: context.get_parameter_source(name) for name in values}
    return {name: value for name, value in values.items() if (source := sources[name]) and source.name != "DEFAULT"}


def _needed(terminal: Terminal, name: str) -> str:
    is_argument = name in terminal.function.arguments
    return f"argument '{_metavar(terminal, name)}'" if is_argument else f"option '{terminal.option(name)}'"


def _is_empty(file: Path) -> bool:
    """Return whether a YAML file has no line but comments; one that cannot be read is left to its reader."""
    if not file.is_file():
        return False
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    return all(line.partition("#")[0].strip() in ("", "---", "{}") for line in lines)


def _as_yaml(value: object) -> str:
    """Return the value as YAML on one line, which JSON is."""
    return json.dumps(value, default=str)


def _parameter(terminal: Terminal, name: str, info: FieldInfo) -> inspect.Parameter:
    kind, repeatable = _typer_type(info.annotation)
    default: Any = None if info.is_required() else info.get_default(call_default_factory=True)
    if repeatable or info.is_required():
        default = None if not default else list(default)
    help_text = in_options(info.description or "", terminal)
    limits = _limits(kind, info)
    if name in terminal.function.arguments:
        if info.is_required():
            help_text += "  [required]"
        argument = typer.Argument(metavar=_metavar(terminal, name), help=help_text, show_default=False, **limits)
        argument.parser = _as_typed if kind is Path else None
        annotation = list[kind] | None if repeatable else kind | None  # type: ignore[valid-type]
        return _named(name, annotation, default, argument)
    flags = [option_name(name, info)]
    if kind is bool and default:
        flags = [f"{flags[0]}/{negative_option(flags[0])}"]
    if name in terminal.short:
        flags.append(terminal.short[name])
    shown = kind is not bool and default is not None and default is not False
    metavar = None if kind is bool else terminal.metavars.get(name) or value_name(kind, name)
    chosen = typer.Option(*flags, metavar=metavar, help=help_text, show_default=shown, **limits)
    chosen.parser = _as_typed if kind is Path else None
    annotation = list[kind] | None if repeatable else kind if default is not None else kind | None  # type: ignore[valid-type]
    return _named(name, annotation, default, chosen)


def _extra(
    name: str, annotation: Any, default: Any, flag: str, help_text: str, metavar: str | None = None, **limits: Any
) -> inspect.Parameter:
    info = typer.Option(flag, metavar=metavar, help=in_plain(help_text), show_default=False, **limits)
    return _named(name, annotation, default, info)


def in_plain(text: str) -> str:
    """Return the text without backquotes."""
    return text.replace("`", "")


def _named(name: str, annotation: Any, default: Any, info: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=Annotated[annotation, info])


def _metavar(terminal: Terminal, name: str) -> str:
    return terminal.metavars.get(name) or name.upper()


def value_name(kind: Any, name: str) -> str:
    """Return what stands for an option's value: its choices, or a word for its type."""
    if name == "plugins":
        return "FILE"
    if get_origin(kind) is Literal:
        return "|".join(get_args(kind))
    return {Path: "PATH", int: "N", float: "NUMBER"}.get(kind, name.upper())


def _typer_type(annotation: Any) -> tuple[Any, bool]:
    """Return the type of a field as Typer knows it, and whether it takes several values."""
    if is_size(annotation):
        return str, False
    if annotation is Any:  # a path, or an object that only Python can give
        return Path, False
    if get_origin(annotation) is Annotated:
        return _typer_type(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        branches = [branch for branch in get_args(annotation) if branch is not type(None)]
        simple = [branch for branch in branches if not (isinstance(branch, type) and issubclass(branch, CommandConfig))]
        return _typer_type(simple[0])
    if get_origin(annotation) is tuple:
        return _typer_type(get_args(annotation)[0])[0], True
    return annotation, False


def _as_typed(text: str) -> Path | str:
    """Return a path; a URL stays a text, which a path would shorten."""
    return text if is_url(text) else Path(text)


def _limits(kind: Any, info: FieldInfo) -> dict[str, Any]:
    """Return the bounds that Typer checks; open ones are left to pydantic."""
    if kind not in (int, float):
        return {}
    limits = {}
    for constraint in info.metadata:
        for key, bound in (("ge", "min"), ("le", "max")):
            if (value := getattr(constraint, key, None)) is not None:
                limits[bound] = value
    return limits
