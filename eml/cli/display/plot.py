"""`eml plot` in a terminal."""

from eml.cli.adapter import Terminal
from eml.commands.plot import PlotResult, plot


def show(result: PlotResult) -> None:
    """Print the best value of each run."""
    from eml.cli.display import console

    console.table(result.metric, *result.summary_table())
    if len({run.question for run in result.runs.values()}) > 1:
        console.warn("the runs were not validated on the same question, so their values cannot be compared")


terminal = Terminal(plot, show, metavars={"runs": "RUN"})
