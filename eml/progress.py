"""The callbacks through which long work reports its progress."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from eml.printable import printable


class Progress(Protocol):
    """Makes a progress bar: a context manager that gives the function to call with newly finished items."""

    def __call__(self, description: str, total: int | None = None, /) -> AbstractContextManager[Callable[[int], None]]:
        """Show what is done, out of how many; total: None where that is not known."""


Report = Callable[[str], None]
"""A function called with a line of text."""


@contextmanager
def no_progress(description: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Show nothing."""
    yield lambda count: None


@contextmanager
def bars(description: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr while the block runs, with a rate and the time left; yield the function that advances it.

    In a notebook the bar is shown below the cell. Elsewhere nothing is shown where stderr is no terminal.
    """
    from eml.notebook_bars import is_notebook, notebook_bars

    if is_notebook():
        with notebook_bars(description, total) as advance:
            yield advance
        return

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn
    from rich.progress import Progress as ProgressBars
    from rich.progress import TimeRemainingColumn as TimeLeft
    from rich.text import Text

    class RateColumn(ProgressColumn):
        """Items per second over the last half minute."""

        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.0f}/s" if task.speed else "")

    console = Console(stderr=True, markup=False, emoji=False, highlight=False)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeLeft(),
    )
    with ProgressBars(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(printable(description), total=total)
        yield lambda done: bar.advance(task, done)
