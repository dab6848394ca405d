"""The application: commands imported when they are called, and the one place where errors become exit codes."""

import _thread
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from eml.cli.adapter import Terminal, terminal_of, typer_function
from eml.cli.completing.tables import read_tables
from eml.cli.exit_codes import BUG, DONE, FIXABLE, INTERRUPTED
from eml.cli.groups import TerminalGroup, group_command
from eml.cli.help_page import PlainCommand
from eml.cli.other_options import takes_others
from eml.cli.streams import (
    NO_MEMORY,
    drop_stdout,
    is_out_of_memory,
    open_closed_streams,
    stdout_may_close,
    system_problem,
)
from eml.errors import EmlError, Interrupted
from eml.imported import is_imported, missing_package
from eml.printable import printable
from eml.stopping import guarded

# Module eml/cli/display/NAME.py has the command as `terminal`: a Terminal, a TerminalGroup of several, a function, or a
# typer.Typer. Listed in the order of the pipeline.
COMMANDS = (
    *("scan", "protocol", "merge", "filter", "split", "kfold", "audit", "report", "pack"),
    *(
        "backbones",
        "probe",
        "init",
        "cache",
        "train",
        "sweep",
        "plot",
        "evaluate",
        "calibrate",
        "compress",
        "ensemble",
        "suspects",
        "embed",
        "text",
        "merge-shards",
        "export",
        "push",
        "upload",
    ),
    *(
        "index",
        "search",
        "classify",
        "serve",
        "serve-key",
        "demo",
        "margins",
        "config",
        "completion",
        "doctor",
        "version",
    ),
)


MOST_LINES = 60  # of an error


class LazyGroup(TyperGroup):
    """Imports a command's module when it is run or described, so that `--help` stays quick."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order of the pipeline."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of that name, or end with a usage error that names the nearest."""
        if cmd_name not in COMMANDS:
            close = get_close_matches(cmd_name, COMMANDS, 1)
            hint = f" (did you mean '{close[0]}'?)" if close else ""
            ctx.fail(f"unknown command '{cmd_name}'{hint}; known: {', '.join(COMMANDS)}")
        command = build_command(cmd_name)
        command.name = cmd_name
        help_text = (command.help or "").partition("\n\n")[0].replace("\n", " ")
        command.short_help = help_text.partition(". ")[0].rstrip(".")  # Typer would cut it at the margin
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands with their summaries, which are in the tables of completion: no command is imported."""
        known = read_tables()["commands"]
        with formatter.section("Commands"):
            formatter.write_dl([(name, known[name]["help"]) for name in self.list_commands(ctx) if name in known])

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the command line, without secrets, for the sidecars of the files that the command writes."""
        from eml.cli.secrets import hidden_line

        ctx.meta["eml.command_line"] = hidden_line(["eml", *args])
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; Ctrl-C and SIGTERM become `Interrupted`, which Typer leaves to `main`."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted") from error


def build_command(name: str) -> Any:
    """Return the command as Typer has it."""
    terminal = terminal_of(name)
    if isinstance(terminal, TerminalGroup):
        return group_command(terminal)
    if isinstance(terminal, typer.Typer):
        return typer.main.get_command(terminal)
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    function, kind = terminal, PlainCommand
    if isinstance(terminal, Terminal):
        function = typer_function(terminal)
        kind = takes_others(terminal.option(terminal.others)) if terminal.others else PlainCommand
    single.command(name=name, cls=kind)(function)
    return typer.main.get_command(single)


# No rich in the help: it costs 0.2 s, and the plain form reads as well.
app = typer.Typer(
    cls=LazyGroup,
    add_completion=False,
    add_help_option=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


def _show_help(context: typer.Context, is_set: bool) -> None:
    if is_set:
        print(context.get_help())  # noqa: T201 - the result: stdout
        raise typer.Exit


def _show_version(is_set: bool) -> None:
    if is_set:
        from eml.versions import eml_version

        print(f"eml {eml_version()}")  # noqa: T201 - the result: stdout
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

    The pipeline: scan → filter → split → kfold → init → train → evaluate → calibrate. Each step takes the folder of
    images and uses what the steps before it wrote there, or takes the file to use. Then index build puts images into
    an index, and search and classify ask it. `eml demo DIR` runs the pipeline on drawn images.
    """


def run(arguments: Sequence[str] | None = None) -> None:
    """Run one command in this process as `main` does, but let its errors out; SystemExit where its code is not 0."""
    try:
        typer.main.get_command(app)(args=None if arguments is None else list(arguments), prog_name="eml")
    except SystemExit as stop:  # how Typer ends, without an error too
        if stop.code:
            raise


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (`sys.argv` by default) and return its exit code.

    0 done; 1 the answer to a check is no; 2 the user can mend it; 70 a bug, with its traceback; 130 interrupted.
    """
    open_closed_streams()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill saves what Ctrl-C saves
    try:
        with guarded(INTERRUPTED, for_good=arguments is None), _interrupts_kept():
            run(arguments)
        with stdout_may_close():  # help and versions are still in its buffer
            pass
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else BUG
    except EmlError as error:
        _print_lines(error.problems)
        return FIXABLE
    except (Interrupted, KeyboardInterrupt) as error:
        _print_lines([str(error) or "interrupted"])
        return INTERRUPTED
    except OSError as error:
        if not _plugin_problem() and (line := system_problem(error)):
            _print_lines([line])
            return FIXABLE
        return _report_bug(arguments)
    except ModuleNotFoundError as error:
        if not _plugin_problem() and (line := missing_package(error)):
            _print_lines([line])
            return FIXABLE
        return _report_bug(arguments)
    except Exception as error:
        if is_out_of_memory(error):
            _print_lines([NO_MEMORY])
            return FIXABLE
        return _report_bug(arguments)
    finally:
        signal.signal(signal.SIGTERM, before)
    return DONE


@contextmanager
def _interrupts_kept() -> Iterator[None]:
    """Lose no Ctrl-C: Python drops what is raised in a destructor or in a callback of its garbage collector.

    The command would go on to its end; so the signal comes once more, a moment later, when that is over.
    """
    before = sys.unraisablehook

    def repeat(dropped: "sys.UnraisableHookArgs") -> None:
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            threading.Timer(0.01, _thread.interrupt_main).start()
        else:
            before(dropped)

    sys.unraisablehook = repeat
    try:
        yield
    finally:
        sys.unraisablehook = before


def _report_bug(arguments: Sequence[str] | None) -> int:
    from eml.cli.bug_report import CLOSING, bug_report

    if line := _plugin_problem():
        traceback.print_exc()
        _print_lines([f"{line}. The traceback stands above"])
        return FIXABLE
    _print_lines([*bug_report(sys.argv[1:] if arguments is None else arguments).splitlines(), CLOSING], most=None)
    return BUG


def _plugin_problem() -> str | None:
    """Return what a plugin of the user's own raises, if the exception that is being handled went through one."""
    if not is_imported("eml.config.plugins"):
        return None
    from eml.config.plugins import raised_in_plugin

    error = sys.exception()
    return None if error is None else raised_in_plugin(error)


def _print_lines(lines: Sequence[str], *, most: int | None = MOST_LINES) -> None:
    with suppress(OSError):
        _write_lines(lines, most)


def _write_lines(lines: Sequence[str], most: int | None) -> None:
    try:
        sys.stdout.flush()
    except OSError:
        drop_stdout()
    left_out = len(lines) - len(lines[:most])
    for line in [*lines[:most], *([f"and {left_out:,} more"] if left_out else [])]:
        print(printable(line), file=sys.stderr)  # noqa: T201 - not rich: an error must not depend on a terminal's abilities
