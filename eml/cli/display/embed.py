"""`eml embed` in a terminal."""

from eml.cli.adapter import Terminal
from eml.commands.embed import EmbedResult, embed


def show(result: EmbedResult) -> None:
    """Print how many images were embedded, how many were before, and how fast."""
    from eml.cli.display import console

    console.table("", *result.summary_table())


terminal = Terminal(
    embed,
    show,
    metavars={"checkpoint": "CHECKPOINT", "images": "IMAGES", "image_size": "PIXELS"},
    devices=True,
)
