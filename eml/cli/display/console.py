"""What commands show: tables, lines and progress on stderr, one JSON object on stdout. rich is imported when used."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def console() -> Console:
    """A console on stderr. No markup, emoji codes or highlighting: labels and file names are shown as they are."""
    from rich.console import Console

    return Console(stderr=True, markup=False, emoji=False, highlight=False)


def say(text: str, style: str | None = None) -> None:
    """One line, not wrapped, so that a path in it can be copied."""
    console().print(text, style=style, soft_wrap=True)


def warn(text: str) -> None:
    """One line that should not be overlooked."""
    say(f"warning: {text}", style="yellow")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table; columns of numbers are set to the right. Whole numbers get thousands separators, None is left blank."""
    console().print(_made(title, columns, [list(row) for row in rows]))


def fits(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bool:
    """Whether a table is as narrow as the terminal without folding a cell."""
    from rich.measure import Measurement

    shown = console()
    wide = shown.options.update(max_width=10_000)
    return Measurement.get(shown, wide, _made("", columns, [list(row) for row in rows])).maximum <= shown.width


def _made(title: str, columns: Sequence[str], rows: list[list[Any]]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    heading = Text(title, style="bold") if title else None
    made = Table(title=heading, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(columns):
        numbers = bool(rows) and all(_is_number(row[index]) for row in rows)
        made.add_column(Text(name), justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(_shown(value)) for value in row))
    return made


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | None) or re.fullmatch(r"[+-]?[0-9][0-9,.]*", str(value)) is not None


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def decimal(value: float) -> str:
    """A rate to three digits that matter: `0.0131`, `0.965`, `1.3e-05`."""
    return f"{value:.3g}"


def span(low: float | None, high: float | None) -> str:
    """An interval of rates; empty where it is not known."""
    return "" if low is None or high is None else f"{decimal(low)} … {decimal(high)}"


def between(low: int, high: int) -> str:
    """`35 to 143`; `8` where both are 8."""
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def count(number: int, one: str, several: str) -> str:
    """`1 class`, `2,000 classes`."""
    return f"{number:,} {one if number == 1 else several}"


def some(names: Sequence[str], one: str, several: str) -> str:
    """`3 classes: a, b, c`; of many, the first five."""
    shown = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
    return f"{count(len(names), one, several)}: {shown}"


def written(paths: Sequence[Path], replaced: Sequence[Path], following: str | None = None) -> None:
    """The files a command has written, and the command that usually follows, if there is one."""
    for path in paths:
        say(f"{'replaced' if path in replaced else 'wrote'} {path}")
    if following:
        say(f"next: {following}")


def print_json(value: dict[str, Any]) -> None:
    """Exactly one JSON object on stdout, in ASCII, so that no locale can break it."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")
    sys.stdout.flush()


@contextmanager
def progress(description: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """A progress bar for the block; yields a function to call with the number of items that are newly done.

    With a rate and the time left; nothing is shown where stderr is no terminal.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    shown = console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _rate(), TimeRemainingColumn())
    with Progress(*columns, console=shown, disable=not shown.is_terminal, transient=True) as bar:
        task = bar.add_task(description, total=total)
        yield lambda done: bar.advance(task, done)


def _rate() -> Any:
    from rich.progress import ProgressColumn, Task
    from rich.text import Text

    class Rate(ProgressColumn):
        """Items per second over the last half minute."""

        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.0f}/s" if task.speed else "")

    return Rate()
