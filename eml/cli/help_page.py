"""The help of one command: arguments and values named alike, in capitals, whichever version of Typer is there."""

from collections.abc import Callable
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from typer.core import TyperCommand

OF_TYPE: dict[Any, str] = {Path: "PATH", int: "N", float: "NUMBER"}


class PlainCommand(TyperCommand):
    """Usage and lists by `name_values`, without braces and types."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """`[OPTIONS] DATASET [COLUMN]`."""
        arguments = [each for each in self.get_params(ctx) if each.param_type_name == "argument"]
        names = [_several(each) for each in arguments]
        wanted = [
            name if each.required or "[required]" in str(getattr(each, "help", "")) else f"[{name}]"
            for name, each in zip(names, arguments, strict=True)
        ]
        return [self.options_metavar or "", *wanted]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, then options, each with what it is for."""
        told: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
        for param in self.get_params(ctx):
            if (record := param.get_help_record(ctx)) is not None:
                name, text = record
                told[param.param_type_name].append(
                    (_several(param) if param.param_type_name == "argument" else name, text)
                )
        for title, kind in (("Arguments", "argument"), ("Options", "option")):
            if told[kind]:
                with formatter.section(title):
                    formatter.write_dl(told[kind])


def _several(argument: Any) -> str:
    return f"{argument.metavar}..." if argument.nargs != 1 else str(argument.metavar)


def name_values(command: Any, function: Callable[..., Any]) -> None:
    """Gives every parameter without a name for its value one: of its type, the choices, or its own in capitals."""
    types = get_type_hints(function)
    for param in command.params:
        if param.name in types and param.metavar is None:
            param.metavar = param.name.upper() if param.param_type_name == "argument" else _of(types[param.name], param)


def _of(annotation: Any, param: Any) -> str:
    if get_origin(annotation) is Literal:
        return "|".join(get_args(annotation))
    inner = [each for each in get_args(annotation) if each is not NoneType]
    if inner:
        return _of(inner[0], param)
    return OF_TYPE.get(annotation, str(param.name).strip("_").upper())
