"""`eml export` in a terminal."""

from eml.cli.adapter import Terminal
from eml.commands.export import ExportResult, export


def show(result: ExportResult) -> None:
    """Print what was written."""
    from eml.cli.display import console

    console.show(result.summary())


terminal = Terminal(
    export, show, metavars={"checkpoint": "CHECKPOINT", "out": "OUT", "format": "FORMAT", "image_size": "PIXELS"}
)
