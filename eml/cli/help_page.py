"""The help of one command: arguments and values named alike, in capitals, whichever version of Typer is there."""

from typing import Any

from typer.core import TyperCommand


class PlainCommand(TyperCommand):
    """A command whose help has no braces and types."""

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


def _repeated_name(argument: Any) -> str:
    return f"{argument.metavar}..." if argument.nargs != 1 else str(argument.metavar)
