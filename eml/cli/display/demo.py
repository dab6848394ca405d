"""`eml demo` in a terminal."""

from eml.cli.adapter import Terminal
from eml.commands.demo import DemoResult, demo


def show(result: DemoResult) -> None:
    """Print what training did."""
    from eml.cli.display import console

    console.show(f"\n{result.queries:,} images of {result.classes} characters never seen in training, in percent:")
    console.table("", *result.summary_table())


terminal = Terminal(demo, show, metavars={"folder": "DIR"})
