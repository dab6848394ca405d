"""`eml report` in a terminal."""

from eml.cli.adapter import Terminal
from eml.commands.report import ReportOutcome, ReportResult, report


def show(result: ReportOutcome) -> None:
    """Print the main numbers."""
    from eml.cli.display import console

    console.table("", *result.summary_table())
    if isinstance(result, ReportResult) and result.examined.facts.not_compared:
        console.warn(result.examined.facts.not_compared)


terminal = Terminal(report, show, metavars={"class_level": "N|last"})
