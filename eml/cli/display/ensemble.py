"""`eml ensemble` in a terminal."""

from eml.cli.adapter import Terminal
from eml.commands.ensemble import EnsembleResult, ensemble


def show(result: EnsembleResult) -> None:
    """Print the models alone and together, and what the figures are worth."""
    from eml.cli.display import console
    from eml.cli.display.analysis import interval_text
    from eml.evaluation.comparison import verdict_on

    outcome = result.outcome
    if outcome.gain is not None:
        columns, rows = result.summary_table()
        classes = f", {outcome.division.text}" if outcome.division and not outcome.chosen_by_all else ""
        console.table(f"on {outcome.table}{classes}", columns, rows)
        gain = outcome.gain
        figures = f"MAP@R {gain.after:.3f}, of the best alone {gain.before:.3f}"
        if not gain.alike:
            figures += f": {gain.value:+.3f} ({interval_text(gain)}) over {gain.interval.classes} classes"
        console.show(f"{figures}; {verdict_on(gain)}")
        if outcome.chosen_by_all:
            console.warn("these classes chose the members too, which flatters the figure: measure it on others")
        if outcome.overlap is not None and outcome.overlap.is_recorded:
            for line in outcome.overlap.lines(outcome.table or ""):
                console.warn(line)
    console.show(result.summary())


terminal = Terminal(ensemble, show, short={"data": "-d"})
