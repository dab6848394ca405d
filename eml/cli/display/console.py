"""The output of commands: results on stdout, notes and warnings on stderr. rich is imported when it is used."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eml.printable import printable, printable_line
from eml.progress import bars as progress

__all__ = [
    "between",
    "console",
    "count",
    "decimal",
    "fits",
    "paragraph",
    "print_json",
    "progress",
    "prose",
    "results_are_hidden",
    "say",
    "show",
    "some",
    "span",
    "table",
    "warn",
    "written",
]

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


LONGEST_WORD = 20  # characters; what is longer is a name or a path
_BEFORE_UNIT = re.compile(r"(?<=[0-9]) (?=(?:s|ms|min|h|px|MP|[kKMGT]i?B)\b)")
_KEPT = "\ue000"  # stands for a space at which no line is broken
UNLIMITED = 100_000  # columns of output that is piped: nothing is wrapped there


def console(*, stderr: bool = True) -> Console:
    """Return a console. No markup, emoji codes or highlighting: labels and file names are shown as they are."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else UNLIMITED
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, width=width)


def say(text: str, style: str | None = None) -> None:
    """Print a line on stderr, not wrapped, so that a path in it can be copied."""
    console().print(printable(text), style=style, soft_wrap=True)


def warn(text: str) -> None:
    """Print a line on stderr that should not be overlooked; on a terminal it is wrapped between words."""
    say(_wrapped(f"warning: {printable(text)}", console()), style="yellow")


def prose(text: str, style: str | None = None) -> None:
    """Print text on stderr; on a terminal it is wrapped between words."""
    say(_wrapped(printable(text), console()), style)


def _wrapped(text: str, terminal: Console) -> str:
    """Return the text in lines as wide as the terminal, which would break words; longer ones and "30 s" stay whole."""
    import textwrap

    from rich.cells import cell_len

    indent = " " * (len(text) - len(text.lstrip(" ")))
    wrap = textwrap.TextWrapper(
        terminal.width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, tabsize=1
    )
    lines = (
        wrap.fill(_BEFORE_UNIT.sub(_KEPT, line)) if cell_len(line) > terminal.width else line
        for line in text.split("\n")
    )
    return "\n".join(lines).replace(_KEPT, " ")


_hidden = ContextVar("_hidden", default=False)


@contextmanager
def results_hidden() -> Iterator[None]:
    """Let what is printed on stdout in this block go nowhere: the result is shown as JSON instead."""
    token = _hidden.set(True)
    try:
        yield
    finally:
        _hidden.reset(token)


def results_are_hidden() -> bool:
    """Return whether results go nowhere, since they are shown as JSON."""
    return _hidden.get()


def show(text: str = "", style: str | None = None) -> None:
    """Print a line of the result on stdout; on a terminal it is wrapped between words."""
    if _hidden.get():
        return
    terminal = console(stderr=False)
    terminal.print(_wrapped(printable(text), terminal), style=style, soft_wrap=True)


def unknown(images: int, label: str | None) -> str:
    """Return a line on the images of unknown identity."""
    return f"{count(images, 'image', 'images')} of unknown identity ({label}): no class, never trained on"


def width() -> int:
    """Return the columns of stdout's terminal; of a pipe, no limit."""
    return console(stderr=False).width


def paragraph(text: str) -> None:
    """Print text on stdout that is wrapped between words; an empty line ends a paragraph."""
    if _hidden.get():
        return
    for part in text.split("\n\n"):
        console(stderr=False).print(" ".join(printable(part).split()))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, plain: bool = False) -> None:
    """Print a table on stdout; columns of numbers are set to the right, whole numbers get thousands separators.

    Where its words do not fit side by side, each row is printed as a list of its cells; only a name or path longer than
    any word is broken. plain: no line under the head, no empty lines around.
    """
    if _hidden.get():
        return

    cells = [list(row) for row in rows]
    if title:
        show(title, "bold")  # not the grid's, which would break it where the table is narrower
    terminal, grid = console(stderr=False), _grid(columns, cells, plain=plain)
    if (
        _keep_words_whole(terminal, grid)
        or _keep_words_whole(terminal, grid, intervals=False)  # rather than a name
        or _keep_words_whole(terminal, grid, LONGEST_WORD)
    ):
        if terminal.is_terminal:
            terminal.print(grid)
            return
        with terminal.capture() as capture:
            terminal.print(grid)
        sys.stdout.write("\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n")
        return
    for line in _records(columns, cells):
        terminal.print(line, soft_wrap=True)


def _keep_words_whole(terminal: Console, grid: Table, longest: int = UNLIMITED, *, intervals: bool = True) -> bool:
    """Set the widths of the columns so that no word or interval is broken; return whether there is room for that.

    longest: of a word that is kept whole; what is longer is a name or a path.
    intervals: Whether they are kept whole too.

    rich makes the widest column narrower first, whatever the length of its words. The columns that need least beyond
    their longest word get it first.
    """
    from rich.measure import Measurement

    wide = terminal.options.update(max_width=UNLIMITED)
    sizes_of = [
        [max(sizes) for sizes in zip(*(Measurement.get(terminal, wide, cell) for cell in cells), strict=True)]
        for cells in ([column.header, *column.cells] for column in grid.columns)
    ]
    needs = [
        (most if column.no_wrap and intervals else min(least, longest), most)
        for column, (least, most) in zip(grid.columns, sizes_of, strict=True)
    ]
    room = terminal.width - (Measurement.get(terminal, wide, grid).maximum - sum(most for _, most in needs))
    room -= sum(least for least, _ in needs)
    if room < 0:
        return False
    for column, (least, most) in sorted(
        zip(grid.columns, needs, strict=True), key=lambda pair: pair[1][1] - pair[1][0]
    ):
        column.no_wrap = column.no_wrap and intervals
        column.width = least + min(room, most - least)
        room -= column.width - least
    return True


def _records(columns: Sequence[str], rows: list[list[Any]]) -> Iterator[str]:
    width = max((len(name) for name in columns), default=0)
    for row in rows:
        yield ""
        for name, value in zip(columns, row, strict=True):
            if value is not None:
                yield f"  {printable_line(name):<{width}}  {_shown(value)}".rstrip()


def fits(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bool:
    """Return whether a table is as narrow as the terminal without folding a cell."""
    from rich.measure import Measurement

    shown = console(stderr=False)
    wide = shown.options.update(max_width=10_000)
    return Measurement.get(shown, wide, _grid(columns, [list(row) for row in rows])).maximum <= shown.width


def _grid(columns: Sequence[str], rows: list[list[Any]], *, plain: bool = False) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None if plain else SIMPLE_HEAD, pad_edge=False)
    if plain:
        grid.padding = (0, 2, 0, 0)
    for index, name in enumerate(columns):
        numbers = bool(rows) and all(_is_number(row[index]) for row in rows)
        grid.add_column(
            Text(printable_line(name)),
            justify="right" if numbers else "left",
            overflow="fold",
            no_wrap=bool(rows) and all(_is_interval(row[index]) for row in rows),
        )
    for row in rows:
        grid.add_row(*(Text(_shown(value)) for value in row))
    return grid


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | None) or re.fullmatch(r"[+-]?[0-9][0-9,.]*", str(value)) is not None


def _is_interval(value: Any) -> bool:
    return not value or re.fullmatch(r"[+-]?[0-9.]+ (to|…) [+-]?[0-9.]+", str(value)) is not None


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return printable_line(str(value))


def decimal(value: float) -> str:
    """Return a rate to three digits that matter: `0.0131`, `0.965`, `1.3e-05`."""
    return f"{value:.3g}"


def span(low: float | None, high: float | None) -> str:
    """Return an interval of rates; nothing where it is not known."""
    return "" if low is None or high is None else f"{decimal(low)} … {decimal(high)}"


def between(low: int, high: int) -> str:
    """Return `35 to 143`; `8` where both are 8."""
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def count(number: int, singular: str, plural: str) -> str:
    """Return `1 class`, `2,000 classes`."""
    return f"{number:,} {singular if number == 1 else plural}"


def some(names: Sequence[str], singular: str, plural: str) -> str:
    """Return `3 classes: a, b, c`; of many, the first five."""
    shown = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
    return f"{count(len(names), singular, plural)}: {shown}"


def written(
    paths: Sequence[Path],
    replaced: Sequence[Path],
    removed: Sequence[Path] = (),
    following: str | None = None,
    later: Sequence[str] = (),
) -> None:
    """Print the files that a command has written or removed, and the commands that usually follow, if there are any."""
    for path in paths:
        say(f"{'replaced' if path in replaced else 'wrote'} {path}")
    for path in removed:
        say(f"removed {path}, which an earlier command wrote and no longer belongs here")
    if following:
        say(f"next: {following}")
    for command in later:
        say(f"then: {command}")


def print_json(value: dict[str, Any]) -> None:
    """Print exactly one JSON object on stdout, in ASCII, so that no locale can break it."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")
    sys.stdout.flush()
