"""`eml upload` in a terminal."""

from eml.cli.adapter import Terminal
from eml.commands.upload import UploadResult, upload


def show(result: UploadResult) -> None:
    """Print the counts and the place."""
    from eml.cli.display import console

    console.show(result.summary())


terminal = Terminal(upload, show)
