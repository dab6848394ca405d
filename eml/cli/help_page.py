"""The help of one command and its usage errors: alike whichever version of Typer is there."""

import re
from typing import Any

from typer.core import TyperCommand

_KINDS = {
    "Input should be a valid integer": "a whole number is wanted",
    "Input should be a valid number": "a number is wanted",
}
_CHOICE = re.compile(r"'(.*)' is not one of (.*)", re.DOTALL)


class PlainCommand(TyperCommand):
    """A command whose help has no braces and types, and whose errors of choices name the nearest."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the options; an error says no more of how it came about than its user can use."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            if isinstance(message := getattr(error, "message", None), str):  # a usage error
                setattr(error, "message", _plain_message(message))  # noqa: B010 - its type is of the Typer at hand
            raise

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return `[OPTIONS] DATASET [COLUMN]`."""
        arguments = [param for param in self.get_params(ctx) if param.param_type_name == "argument"]
        pieces = [_repeated_name(argument) for argument in arguments]
        required = [argument.required or "[required]" in str(getattr(argument, "help", "")) for argument in arguments]
        names = [name if needed else f"[{name}]" for name, needed in zip(pieces, required, strict=True)]
        return [self.options_metavar or "", *names]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then the options, each with its help."""
        records: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
        for param in self.get_params(ctx):
            if (record := param.get_help_record(ctx)) is not None:
                name, text = record
                is_argument = param.param_type_name == "argument"
                records[param.param_type_name].append((_repeated_name(param) if is_argument else name, text))
        for title, kind in (("Arguments", "argument"), ("Options", "option")):
            if records[kind]:
                with formatter.section(title):
                    formatter.write_dl(records[kind])


def _plain_message(message: str) -> str:
    """Return an error's text without pydantic's name for it, and for a choice with the nearest one."""
    message = message.removeprefix("Value error, ")
    for start, text in _KINDS.items():
        if message.startswith(start):
            return text
    if (match := _CHOICE.match(message)) is None:
        return message
    from eml.config.text import did_you_mean

    return match[0].rstrip(".") + did_you_mean(match[1], re.findall(r"'([^']*)'", match[2]))


def _repeated_name(argument: Any) -> str:
    return f"{argument.metavar}..." if argument.nargs != 1 else str(argument.metavar)
