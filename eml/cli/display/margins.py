"""`eml margins` in a terminal."""

import inspect
from typing import Any

from eml.cli.adapter import Terminal
from eml.commands.margins import MarginInfo, MarginsResult, list_margins, settings_text

WIDE = 130  # columns that all of the table needs


def show(result: MarginsResult) -> None:
    """Print a line for each margin, or all about one."""
    from eml.cli.display import console

    if len(result.margins) == 1:
        _show_one(*result.margins.values())
        return
    columns, rows = result.summary_table()
    if console.width() < WIDE:  # the whole list on one screen of 80 columns
        columns = ["margin", "formula", "paper"]
        rows = [[info.name, info.formula, info.paper.partition(",")[0]] for info in result.margins.values()]
    console.table("", columns, rows, plain=True)


def _show_one(info: MarginInfo) -> None:
    from eml.cli.display import console

    console.show(f"{info.name}: {info.formula}")
    console.show(f"scale {info.scale}; {info.paper}")
    if info.description:
        console.show()
        console.paragraph(inspect.cleandoc(info.description))
    if info.settings:
        rows = [[name, _value(info.defaults[name]), text] for name, text in info.settings.items()]
        console.table("", ["setting", "default", ""], rows)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return settings_text(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


terminal = Terminal(list_margins, show, metavars={"name": "NAME"})
