"""`eml protocol` in a terminal."""

from eml.cli.adapter import Terminal
from eml.commands.protocol import ERRORS, ProtocolResult, protocol


def show(result: ProtocolResult) -> None:
    """Print the counts beside the published ones, and what differs."""
    from eml.cli.display import console

    console.table(f"{result.title} ({result.root})", *result.summary_table())
    console.say(f"licence: {result.licence}")
    for line in result.remarks:
        console.say(line)
    if result.unusable:
        files = console.count(result.unusable, "image is", "images are")
        console.warn(f"{files} missing or cannot be read, and left out: see {ERRORS}")
    if result.note.differences:
        console.warn(f"not the official {result.note.type}: {'; '.join(result.note.differences)}")


terminal = Terminal(protocol, show, metavars={"protocol": "NAME"})
