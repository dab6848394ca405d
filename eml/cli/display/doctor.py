"""`eml doctor` in a terminal."""

from eml.cli.adapter import Terminal
from eml.commands.doctor import DoctorResult, doctor


def show(result: DoctorResult) -> None:
    """Print a line for each fact."""
    from eml.cli.display import console

    width = max(len(name) for name in result.facts)
    for name, value in result.facts.items():
        console.show(f"{name:<{width}}  {value}")


terminal = Terminal(doctor, show)
