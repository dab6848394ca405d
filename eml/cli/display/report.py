"""`eml report` in a terminal."""

from eml.cli.adapter import Terminal
from eml.commands.report import ReportResult, report


def show(result: ReportResult) -> None:
    """Print the main numbers and the recommended commands after the first, which is printed as the next one."""
    from eml.cli.display import console

    console.table("", *result.summary_table())
    if result.examined.facts.not_compared:
        console.warn(result.examined.facts.not_compared)
    for command in result.suggestions[1:]:
        console.say(f"then: {command}")


terminal = Terminal(report, show)
