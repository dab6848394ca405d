"""`eml serve` in a terminal."""

from eml.cli.adapter import Terminal
from eml.commands.serve import ServeResult, serve


def show(result: ServeResult) -> None:
    """Print what the server did, once it has ended."""
    from eml.cli.display import console

    for line in result.lines():
        console.show(line)


terminal = Terminal(serve, show, metavars={"allow_urls": "HOST", "cors": "ORIGIN"})
