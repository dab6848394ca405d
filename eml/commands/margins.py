"""`eml margins`: the margins that there are."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pydantic import Field

from eml.commands.base import Caller, CommandConfig, CommandResult, SummaryTable, command
from eml.commands.options import Plugins
from eml.errors import ConfigError


class MarginsConfig(CommandConfig):
    """List the margins: name, formula, paper; of one margin also its settings, each with its default and meaning.

    c is the cosine between an embedding and its own class, θ its angle, c_j that of another class. docs/margins.md
    explains the settings and plots every margin.
    """

    name: str | None = Field(None, description="Show one margin with all its settings.")
    plugins: Plugins = ()


@dataclass(frozen=True)
class MarginInfo:
    """A margin as the registry has it.

    Attributes:
        scale: What the paper multiplies cosines with; `auto` follows from the number of classes.
        settings: Setting → its meaning.
    """

    name: str
    formula: str
    defaults: dict[str, Any]
    scale: float | str
    paper: str
    description: str
    settings: dict[str, str]


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class MarginsResult(CommandResult):
    """The margins by name."""

    margins: dict[str, MarginInfo]

    def summary(self) -> str:
        """Return the names."""
        return ", ".join(self.margins)

    def summary_table(self) -> SummaryTable:
        """Return a row for each margin."""
        rows = [
            [info.name, info.formula, settings_text(info.defaults), str(info.scale), info.paper]
            for info in self.margins.values()
        ]
        return ["margin", "formula", "defaults", "scale", "paper"], rows

    def to_dict(self) -> dict[str, Any]:
        """Return the margins by name."""
        keys = ("formula", "defaults", "scale", "paper")
        return {"margins": {name: {key: asdict(info)[key] for key in keys} for name, info in self.margins.items()}}


@command(MarginsConfig, arguments=("name",), name="margins")
def list_margins(config: MarginsConfig, caller: Caller) -> MarginsResult:
    """Describe every margin of the registry, or the one that is named."""
    from eml.config.text import did_you_mean, listed
    from eml.margins import Margin

    members = Margin.members()
    if config.name is not None and config.name not in members:
        hint = f"{did_you_mean(config.name, members)}; known: {listed(sorted(members))}"
        hint += ". One of your own needs the plugin that defines it: `plugins`"
        raise ConfigError(f"unknown margin '{config.name}'{hint}", code="unknown-choice", parameter="name")
    names = members if config.name is None else [config.name]
    return MarginsResult(margins={name: _info(name, members[name]) for name in names})


def _info(name: str, member: Any) -> MarginInfo:
    margin = member.model_validate({"type": name})
    settings = {key: info.description or "" for key, info in member.model_fields.items() if key != "type"}
    return MarginInfo(
        name=name,
        formula=margin.formula,
        defaults=margin.model_dump(exclude={"type"}),
        scale=margin.paper_scale,
        paper=margin.paper,
        description=(member.__doc__ or "").strip(),
        settings=settings,
    )


def settings_text(values: dict[str, Any]) -> str:
    """Return `m 0.5, past_pi smooth`; of a section its own settings."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= value if isinstance(value, dict) else {key: value}
    return ", ".join(f"{key} {str(value).lower() if isinstance(value, bool) else value}" for key, value in flat.items())
