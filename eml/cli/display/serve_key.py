"""`eml serve-key …` in a terminal."""

from __future__ import annotations

from eml.cli.adapter import Terminal
from eml.cli.groups import TerminalGroup
from eml.commands.serve_key_add import AddServeKeyResult, add_serve_key
from eml.commands.serve_key_list import ServeKeysResult, list_serve_keys
from eml.commands.serve_key_remove import RemoveServeKeyResult, remove_serve_key


def show_added(result: AddServeKeyResult) -> None:
    """Print the key, alone on stdout, so that a script can read it; what to know of it goes to stderr."""
    from eml.cli.display import console

    rate = "" if result.rate is None else f", {result.rate:g} requests a minute"
    console.say(f"the key of {result.name} ({result.scope}{rate}), shown this once:")
    console.show(result.key)


def show_keys(result: ServeKeysResult) -> None:
    """Print a line for each key."""
    from eml.cli.display import console

    if not result.keys:
        console.show("no keys: nobody is let in")
        return
    console.table("", *result.summary_table(), plain=True)


def show_removed(result: RemoveServeKeyResult) -> None:
    """Print what was removed, and how many keys are left."""
    from eml.cli.display import console

    console.show(f"removed the key {result.name}; {console.count(result.left, 'key', 'keys')} left")


terminal = TerminalGroup(
    "Make, list and revoke the keys of eml serve.",
    {
        "add": Terminal(add_serve_key, show_added),
        "list": Terminal(list_serve_keys, show_keys),
        "remove": Terminal(remove_serve_key, show_removed),
    },
)
