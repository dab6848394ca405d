"""`eml ensemble` in a terminal."""

from eml.cli.adapter import Terminal
from eml.commands.ensemble import EnsembleResult, ensemble


def show(result: EnsembleResult) -> None:
    """Print the models alone and together, and what the figures are worth."""
    from eml.cli.display import console

    outcome = result.outcome
    if outcome.value is not None:
        columns, rows = result.summary_table()
        console.table(f"on {outcome.table}", columns, rows)
        if outcome.by == "greedy":
            console.show(
                f"The {outcome.classes:,} classes of {outcome.table} chose the members, so the last figure flatters: "
                "measure the new checkpoint on others."
            )
        if outcome.overlap is not None and outcome.overlap.is_recorded:
            for line in outcome.overlap.lines(outcome.table or ""):
                console.warn(line)
    console.show(result.summary())


terminal = Terminal(ensemble, show, short={"data": "-d"})
