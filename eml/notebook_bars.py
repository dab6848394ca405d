"""Progress bars in a notebook: all bars of a cell share one place, which is written anew and is empty at the end."""

import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from importlib import import_module
from typing import Any

from eml.printable import printable

PAUSE = 0.25
"""Seconds between two changes of what is shown. A bar that ends earlier is not shown."""


def is_notebook() -> bool:
    """Return whether a Jupyter kernel runs this process, as in a notebook. IPython is not imported for it."""
    get_shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return getattr(get_shell() if get_shell else None, "kernel", None) is not None


@contextmanager
def notebook_bars(description: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Show a bar below the running cell while the block runs; yield the function that advances it."""
    place = _place_of_cell()
    bar = _Bar(printable(description), total)
    place.bars.append(bar)

    def advance(count: int) -> None:
        bar.done += count
        place.show()

    try:
        yield advance
    finally:
        place.bars.remove(bar)
        if not place.bars:
            place.clear()


class _Bar:
    """Count what is done, out of how many, and say it as text."""

    def __init__(self, description: str, total: int | None) -> None:
        self.description, self.total, self.done = description, total, 0
        self.begun = time.monotonic()

    def figures(self) -> str:
        """Return `1,200 of 1,536, 420/s, 1 s left`."""
        parts = [f"{self.done:,}" if self.total is None else f"{self.done:,} of {self.total:,}"]
        passed = time.monotonic() - self.begun
        if self.done and passed:
            rate = self.done / passed
            parts.append(f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s")
            if self.total is not None and self.done < self.total:
                parts.append(f"{time_text((self.total - self.done) / rate)} left")
        return ", ".join(parts)

    def text(self) -> str:
        """Return the bar as a line of text."""
        return f"{self.description}: {self.figures()}"

    def html(self) -> str:
        """Return the bar as a line of a page; without a total it moves to and fro."""
        value = "" if self.total is None else f' value="{self.done}" max="{max(self.total, 1)}"'
        return (
            '<div style="display:flex;gap:10px;align-items:center;font-size:13px">'
            f'<span>{escape(self.description)}</span><progress{value} style="width:200px"></progress>'
            f"<span>{self.figures()}</span></div>"
        )


class _Place:
    """Show the bars of a cell in one place."""

    def __init__(self, cell: int) -> None:
        self.cell, self.id = cell, f"eml-{uuid.uuid4().hex}"
        self.bars: list[_Bar] = []
        self.is_there, self.written = False, time.monotonic()

    def show(self) -> None:
        """Write the bars, unless they were written a moment ago."""
        now = time.monotonic()
        if now - self.written >= PAUSE:
            self.written = now
            self._write("\n".join(bar.text() for bar in self.bars), "".join(bar.html() for bar in self.bars))

    def clear(self) -> None:
        """Leave nothing to be seen."""
        if self.is_there:
            self._write("", "")
        self.written = time.monotonic()

    def _write(self, text: str, html: str) -> None:
        display: Callable[..., Any] = import_module("IPython.display").display
        display({"text/plain": text, "text/html": html}, raw=True, display_id=self.id, update=self.is_there)
        self.is_there = True


_places: list[_Place] = []
"""The place of the cell that showed bars last."""


def _place_of_cell() -> _Place:
    cell: int = sys.modules["IPython"].get_ipython().execution_count
    if not _places or _places[0].cell != cell:
        _places[:] = [_Place(cell)]
    return _places[0]


def time_text(seconds: float) -> str:
    """Return `8 s`, `3 min`, `2.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
