"""`eml init` in a terminal."""

from eml.cli.adapter import Terminal
from eml.commands.init import InitResult, init


def show(result: InitResult) -> None:
    """Print why the config is as it is."""
    from eml.cli.display import console

    for reason in result.reasons:
        console.show(f"  {reason}")


terminal = Terminal(init, show, metavars={"class_level": "N|last"})
