"""Commands under one word: `eml index build`, `eml index add`."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import typer
from typer.core import TyperGroup

from eml.cli.adapter import Terminal, typer_function
from eml.cli.help_page import PlainCommand


@dataclass(frozen=True)
class TerminalGroup:
    """Commands that share their first word.

    Args:
        summary: The help of the word itself.
        members: Second word → the command.
    """

    summary: str
    members: Mapping[str, Terminal]


class OrderedGroup(TyperGroup):
    """Names the nearest and all commands of the group where one is unknown."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of that name, or end with a usage error."""
        if (command := super().get_command(ctx, cmd_name)) is None:
            known = self.list_commands(ctx)
            close = get_close_matches(cmd_name, known, 1)
            hint = f" (did you mean '{close[0]}'?)" if close else ""
            ctx.fail(f"unknown command '{ctx.info_name} {cmd_name}'{hint}; known: {', '.join(known)}")
            return None
        help_text = (command.help or "").partition("\n\n")[0].replace("\n", " ")
        command.short_help = help_text.partition(". ")[0].rstrip(".")
        return command


def group_command(group: TerminalGroup) -> Any:
    """Return the group as Typer has it."""
    application = typer.Typer(
        cls=OrderedGroup, add_completion=False, rich_markup_mode=None, no_args_is_help=True, help=group.summary
    )
    application.callback()(lambda: None)
    for name, terminal in group.members.items():
        application.command(name=name, cls=PlainCommand)(typer_function(terminal))
    return typer.main.get_command(application)
