"""The application: commands imported when they are called for, and the one place where errors become exit codes."""

import _thread
import importlib
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from eml.cli.adapter import Terminal, typer_function
from eml.cli.help_page import PlainCommand, name_values
from eml.errors import EmlError, Interrupted

# Module eml/cli/NAME.py holds the command as an attribute NAME: a function, or a typer.Typer for a group of commands.
# Its docstring is its help. Listed in the order of the way of the data.
COMMANDS = (
    *("scan", "merge", "filter", "split", "kfold", "audit", "report"),
    *("init", "cache", "train", "plot", "evaluate", "calibrate", "suspects", "demo", "margins", "config"),
    *("doctor", "version"),
)

DONE, FIXABLE, BUG, INTERRUPTED = 0, 2, 70, 130


class LazyGroup(TyperGroup):
    """Imports a command's module when it is run or described, so that `--help` stays quick."""

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order of the way of the data."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name; a usage error with the nearest names where there is none."""
        if cmd_name not in COMMANDS:
            close = get_close_matches(cmd_name, COMMANDS, 1)
            hint = f" (did you mean '{close[0]}'?)" if close else ""
            ctx.fail(f"unknown command '{cmd_name}'{hint}; known: {', '.join(COMMANDS)}")
        made = _command_of(cmd_name)
        made.name = cmd_name
        made.short_help = (
            (made.help or "").partition("\n")[0].partition(". ")[0].rstrip(".")
        )  # Typer would cut it at the margin
        return made

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keeps the whole command line for the sidecars of the files that the command writes."""
        ctx.meta["eml.command_line"] = shlex.join(["eml", *args])
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Runs the command; Ctrl-C and SIGTERM become `Interrupted`, which Typer leaves to `main`."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted") from error


def _command_of(name: str) -> Any:
    """The command as Typer has it, from its place under eml/cli/display."""
    try:
        module = importlib.import_module(f"eml.cli.display.{name}")
    except ModuleNotFoundError:
        module = importlib.import_module(f"eml.cli.{name}")
    if isinstance(terminal := getattr(module, "terminal", None), Terminal):
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        settings = {"ignore_unknown_options": True, "allow_extra_args": True} if terminal.others else {}
        single.command(name=name, cls=PlainCommand, context_settings=settings)(typer_function(terminal))
        return typer.main.get_command(single)
    command = terminal or getattr(module, name)
    if isinstance(command, typer.Typer):
        return typer.main.get_command(command)
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name=name, cls=PlainCommand)(command)
    made = typer.main.get_command(single)
    name_values(made, command)
    return made


# No rich in the help: it costs 0.2 s, and the plain form reads as well.
app = typer.Typer(
    cls=LazyGroup,
    add_completion=False,
    add_help_option=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


def command_line(context: typer.Context) -> str:
    """The command as it was typed, to be written beside what it makes."""
    return str(context.meta["eml.command_line"])


def _show_help(context: typer.Context, wanted: bool) -> None:
    if wanted:
        print(context.get_help())  # noqa: T201 - help is what was asked for: stdout
        raise typer.Exit


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"eml {version('easy-metric-learning')}")  # noqa: T201 - as above
        raise typer.Exit


@app.callback()
def eml(
    # An option of our own: Typer's reads pydantic in to find that it was not given, 0.1 s for every `eml X --help`.
    show_help: Annotated[
        bool, typer.Option("--help", "-h", callback=_show_help, is_eager=True, help="Show this message and exit.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", "-V", "-v", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """From a folder of images, one folder per class, to an embedding model that is measured and ready to use.

    The way: scan → filter → split → kfold → init → train → evaluate. Each step takes the folder of images and uses
    what the steps before it wrote there, or takes the file to use. `eml demo DIR` goes the whole way on drawn images.
    """


def run(arguments: Sequence[str] | None = None) -> None:
    """Runs one command in this process as `main` does, but lets its errors out; SystemExit where its code is not 0."""
    try:
        typer.main.get_command(app)(args=None if arguments is None else list(arguments), prog_name="eml")
    except SystemExit as stop:  # how Typer ends, without an error too
        if stop.code:
            raise


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line (`sys.argv` unless given) and returns its exit code.

    0 done; 1 the answer to a check is no; 2 the user can mend it; 70 a bug, with its traceback; 130 interrupted.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill saves what Ctrl-C saves
    try:
        with _interrupts_kept():
            run(arguments)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else BUG
    except EmlError as error:
        _print_lines(error.problems)
        return FIXABLE
    except (Interrupted, KeyboardInterrupt) as error:
        _print_lines([str(error) or "interrupted"])
        return INTERRUPTED
    except Exception:
        traceback.print_exc()
        _print_lines(["This is a bug in eml, not a mistake of yours. Please report it with the lines above."])
        return BUG
    finally:
        signal.signal(signal.SIGTERM, before)
    return DONE


@contextmanager
def _interrupts_kept() -> Iterator[None]:
    """No Ctrl-C is lost: Python drops what is raised in a destructor or in a callback of its garbage collector.

    The command would go on to its end; so the signal comes once more, a moment later, when that is over.
    """
    before = sys.unraisablehook

    def again(dropped: "sys.UnraisableHookArgs") -> None:
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            threading.Timer(0.01, _thread.interrupt_main).start()
        else:
            before(dropped)

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before


def _print_lines(lines: Sequence[str]) -> None:
    sys.stdout.flush()
    for line in lines:
        print(line, file=sys.stderr)  # noqa: T201 - not rich: an error must not depend on a terminal's abilities
