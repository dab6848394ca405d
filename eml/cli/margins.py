"""`eml margins`."""

from typing import Any

from eml.cli.options import Json


def margins(json: Json = False) -> None:
    """List the margins: name, formula, default settings, the paper's scale, paper.

    c is the cosine between an embedding and its own class, θ its angle, c_j that of another class. docs/margins.md
    explains the settings and plots every margin.
    """
    from eml.cli.display import console
    from eml.margins import Margin

    members = {name: member.model_validate({"type": name}) for name, member in Margin.members().items()}
    rows = [[name, each.formula, _settings(each), str(each.paper_scale), each.paper] for name, each in members.items()]
    console.table("", ["margin", "formula", "defaults", "scale", "paper"], rows)
    if json:
        found = {
            name: {
                "formula": each.formula,
                "defaults": each.model_dump(exclude={"type"}),
                "scale": each.paper_scale,
                "paper": each.paper,
            }
            for name, each in members.items()
        }
        console.print_json({"margins": found})


def _settings(margin: Any) -> str:
    """`m 0.5, past_pi smooth`; of a section its own settings."""
    values: dict[str, Any] = margin.model_dump(exclude={"type"})
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= value if isinstance(value, dict) else {key: value}
    return ", ".join(f"{key} {str(value).lower() if isinstance(value, bool) else value}" for key, value in flat.items())
