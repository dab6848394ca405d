import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

from eml import notebook_bars
from eml.progress import bars


class Page:
    """A notebook: what its places show, and every change of them."""

    def __init__(self) -> None:
        self.shown: dict[str, dict[str, str]] = {}
        self.changes = 0
        self.kernel, self.execution_count = object(), 1

    def display(self, data: dict[str, str], *, raw: bool, display_id: str, update: bool) -> None:
        assert raw
        assert update == (display_id in self.shown)
        self.shown[display_id] = data
        self.changes += 1


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """IPython as a kernel has it, and a clock of its own."""
    page = Page()
    ipython: Any = types.ModuleType("IPython")
    ipython.get_ipython = lambda: page
    display: Any = types.ModuleType("IPython.display")
    display.display = page.display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr(notebook_bars, "_places", [])
    return page


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a test sets."""
    now = [0.0]
    monkeypatch.setattr(notebook_bars.time, "monotonic", lambda: now[0])
    return now


def test_the_bars_of_a_cell_share_one_place_and_leave_nothing(page: Page, clock: list[float]) -> None:
    for description in ("scanning", "reading <b>"):
        with bars(description, 1000) as advance:
            for _ in range(100):
                clock[0] += 0.01
                advance(10)
            (shown,) = page.shown.values()
            assert "1,000 of 1,000" in shown["text/plain"]
    assert "<b>" not in shown["text/html"]
    assert [data["text/plain"] for data in page.shown.values()] == [""]
    assert page.changes <= 2 * (1 / notebook_bars.PAUSE + 1), "one change in each quarter of a second"


def test_a_bar_that_ends_at_once_is_not_shown(page: Page, clock: list[float]) -> None:
    with bars("scanning", 3) as advance:
        advance(3)
    assert not page.shown


def test_the_bars_of_the_next_cell_have_a_place_of_their_own(page: Page, clock: list[float]) -> None:
    for _ in range(2):
        with bars("scanning") as advance:
            clock[0] += 2
            advance(50)
            assert "scanning: 50, 25/s" in [data["text/plain"] for data in page.shown.values()]
        page.execution_count += 1
    assert len(page.shown) == 2


def test_bars_inside_each_other_are_shown_together_until_an_interrupt(page: Page, clock: list[float]) -> None:
    def validate() -> None:
        with bars("training", 10), bars("validating", 4) as advance:
            clock[0] += 1
            advance(2)
            (shown,) = page.shown.values()
            assert shown["text/plain"].splitlines() == ["training: 0 of 10", "validating: 2 of 4, 2/s, 1 s left"]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        validate()
    assert [data["text/plain"] for data in page.shown.values()] == [""]


def test_a_terminal_of_ipython_is_no_notebook(page: Page) -> None:
    assert notebook_bars.is_notebook()
    page.kernel = None  # type: ignore[assignment]
    assert not notebook_bars.is_notebook()


def test_times_are_in_the_unit_that_suits_them() -> None:
    assert [notebook_bars.time_text(seconds) for seconds in (8.2, 90, 180, 9000)] == ["8 s", "90 s", "3 min", "2.5 h"]
