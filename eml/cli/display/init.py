"""`eml init` in a terminal."""

from collections.abc import Mapping
from typing import Any

from eml.cli.adapter import Terminal, in_plain
from eml.commands.init import InitConfig, InitResult, init


def show(result: InitResult) -> None:
    """Print why the config is as it is."""
    from eml.cli.display import console

    for reason in result.reasons:
        console.show(f"  {in_plain(reason)}")


def ask(arguments: Mapping[str, Any]) -> InitConfig:
    """Return the config that the answers of a person make."""
    from eml.cli.display.init_questions import ask as ask_questions

    return ask_questions(arguments)


terminal = Terminal(init, show, metavars={"class_level": "N|last", "image_size": "PIXELS"}, ask=ask)
