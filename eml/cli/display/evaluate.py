"""`eml evaluate` in a terminal."""

from eml.cli.adapter import Terminal
from eml.commands.evaluate import EvaluateResult, evaluate


def show(result: EvaluateResult) -> None:
    """Print the metrics, and what else was measured."""
    from eml.cli.display import console
    from eml.cli.display.results import show_results

    show_results(result.checkpoints, result.evaluations, result.slices)
    for line in result.cautions():
        console.warn(line)


terminal = Terminal(
    evaluate,
    show,
    short={"data": "-d"},
    metavars={
        "checkpoints": "CHECKPOINT",
        "against": "CHECKPOINT",
        "gallery_model": "CHECKPOINT",
        "slices": "COLUMN",
        "leave_out_same": "COLUMN",
        "within": "COLUMN",
        "image_size": "PIXELS",
        "text_column": "COLUMN",
        "template": "TEXT",
    },
    devices=True,
)
