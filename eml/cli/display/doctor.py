"""`eml doctor` in a terminal."""

from eml.cli.adapter import Terminal
from eml.commands.doctor import DoctorResult, doctor


def show(result: DoctorResult) -> None:
    """Print a line for each fact, as a block of Markdown, which a report shows as it is."""
    from eml.cli.display import console

    width = max(len(name) for name in result.facts)
    console.show("```text")
    for name, value in result.facts.items():
        console.show(f"{name:<{width}}  {value}")
    console.show("```")


terminal = Terminal(doctor, show)
