"""`eml backbones`: the networks that there are."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field

from eml.commands.base import Caller, Cell, CommandConfig, CommandResult, SummaryTable, command
from eml.commands.options import Device, Plugins
from eml.errors import ConfigError, EmlError
from eml.images.image_size import size_text

if TYPE_CHECKING:
    from eml.models.backbones import ListedBackbone
    from eml.models.catalog import BackboneFacts
    from eml.models.catalog_cache import CatalogCache, MeasuredSpeed

USUAL_LIMIT = 20
"""Backbones that are shown of those that match a pattern."""
MOST_IN_PROBE = 3
"""Backbones that the next command names."""


class BackbonesConfig(CommandConfig):
    """List backbones: parameters, image size, embedding size, pooling and the licence of their weights.

    Without a pattern a choice of usual ones and of tested image towers of CLIP, SigLIP 2, DINOv2, DINOv3 and PE. What
    is found out of a network is kept in the user's cache, so that the next listing is quick.
    """

    pattern: str | None = Field(
        None,
        description="A part of their names, such as dinov2, or a pattern such as 'convnext*.fb_*'; all of a family by "
        "its prefix, such as open_clip:ViT-B.",
    )
    limit: int | None = Field(
        None, ge=1, le=10_000, description=f"How many are shown, in the order of their names. Default: {USUAL_LIMIT}."
    )
    measure: bool = Field(
        False, description="Measure how many images per second each of those shown embeds here, with random weights."
    )
    device: Device = "auto"
    plugins: Plugins = ()


@dataclass(frozen=True)
class BackboneRow:
    """A backbone of the list.

    Attributes:
        facts: What is known without its weights; None where it cannot be built.
        problem: Why it cannot be built or measured; "" where it can.
        speed: The last speed that was measured, here or elsewhere.
    """

    listed: ListedBackbone
    facts: BackboneFacts | None
    problem: str
    speed: MeasuredSpeed | None

    @property
    def licence(self) -> str:
        """The licence of the weights in words."""
        return (self.listed.licence or "not stated") if self.listed.has_weights else "no weights"

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        own = {"name": self.listed.name, "has_weights": self.listed.has_weights, "licence": self.listed.licence}
        speed = None if self.speed is None else asdict(self.speed)
        return own | (asdict(self.facts) if self.facts else {}) | {"speed": speed, "problem": self.problem or None}


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class BackbonesResult(CommandResult):
    """The backbones that were looked for.

    Attributes:
        rows: Those that are shown.
        matching: How many there are; more than `rows` where the limit left some out.
        is_choice: Whether it is the choice that is shown without a pattern.
    """

    rows: tuple[BackboneRow, ...]
    matching: int
    is_choice: bool

    def summary(self) -> str:
        """Return the number of backbones."""
        return f"{len(self.rows)} of {self.matching:,} backbones"

    def summary_table(self) -> SummaryTable:
        """Return a row for each backbone."""
        columns = ["backbone", "params", "size", "multiple", "features", "pooling", "licence"]
        rows = [_cells(row) for row in self.rows]
        if any(row.speed for row in self.rows):
            columns = [*columns, "images/s"]
            rows = [
                [*cells, f"{row.speed.images_per_second:.3g}" if row.speed else None]
                for cells, row in zip(rows, self.rows, strict=True)
            ]
        return columns, rows

    def to_dict(self) -> dict[str, Any]:
        """Return the backbones and how many there are."""
        return {"matching": self.matching, "backbones": [row.to_dict() for row in self.rows]}


def _cells(row: BackboneRow) -> list[Cell]:
    facts = row.facts
    if facts is None:
        return [row.listed.name, *[None] * 5, row.licence]
    known = [f"{facts.parameters / 1e6:.3g} M", size_text(facts.size), facts.step, facts.embedding_size, facts.pooling]
    return [row.listed.name, *known, row.licence]


@command(BackbonesConfig, arguments=("pattern",))
def backbones(config: BackbonesConfig, caller: Caller) -> BackbonesResult:
    """Find the backbones, build those shown without memory, and measure them if that is asked for."""
    from eml.models.catalog_cache import CatalogCache

    listed = choice_of_backbones() if config.pattern is None else _matching(config.pattern)
    shown = listed[: config.limit or (USUAL_LIMIT if config.pattern else None)]
    cache = CatalogCache()
    rows = []
    try:
        with caller.progress("measuring" if config.measure else "looking at backbones", len(shown)) as advance:
            for own in shown:
                rows.append(_row(own, cache, config.device if config.measure else None))
                advance(1)
    finally:
        cache.write()
    return BackbonesResult(
        rows=tuple(rows),
        matching=len(listed),
        is_choice=config.pattern is None,
        next_command=_next_command(rows, config),
    )


def _next_command(rows: list[BackboneRow], config: BackbonesConfig) -> str | None:
    """Return the command that ranks backbones on a dataset, the smallest ones, or takes the only one that is shown."""
    sizes = {row.listed.name: row.facts.parameters for row in rows if row.facts and row.listed.has_weights}
    names = sorted(sizes, key=lambda name: sizes[name])
    if config.pattern is None:
        return "eml probe DATASET"
    if len(names) == 1:
        return shlex.join(["eml", "init", "DATASET", "--backbone", names[0]])
    return shlex.join(["eml", "probe", "DATASET", "--backbones", ",".join(names[:MOST_IN_PROBE])]) if names else None


def choice_of_backbones() -> list[ListedBackbone]:
    """Return the usual backbones and the tested ones."""
    from eml.evaluation.probing.candidates import USUAL
    from eml.models.catalog import TESTED, known_backbones

    chosen = known_backbones([*USUAL, *(name for names in TESTED.values() for name in names)])
    return list(dict.fromkeys(chosen))


def _matching(pattern: str) -> list[ListedBackbone]:
    from difflib import get_close_matches

    from eml.models.catalog import find_backbones

    listed = find_backbones(pattern)
    if not listed:
        names = {own.name.partition(".")[0] for own in find_backbones(None)}
        close = get_close_matches(pattern, sorted(names), 3)
        hint = f" (did you mean {' or '.join(close)}?)" if close else ""
        text = f"`pattern`: no backbone has {pattern!r} in its name{hint}; open_clip's are found by open_clip:NAME"
        raise ConfigError(text, code="unknown-choice", parameter="pattern")
    return listed


def _row(listed: ListedBackbone, cache: CatalogCache, device: str | None) -> BackboneRow:
    """Return a row, measured where a device is given."""
    facts, problem = None, ""
    try:
        facts = cache.facts(listed.name)
        if device is not None:
            cache.keep_speed(listed.name, _speed(listed.name, device))
    except EmlError as error:
        problem = str(error.problems[0])
    return BackboneRow(listed, facts, problem, cache.speed(listed.name))


def _speed(name: str, device: str) -> MeasuredSpeed:
    """Measure a backbone with random weights."""
    import platform
    from datetime import UTC, datetime

    from eml.evaluation.probing.timing import measure_speed
    from eml.inference.load import TIMM, load
    from eml.models.catalog_cache import MeasuredSpeed

    model = load(name if ":" in name else f"{TIMM}{name}", weights="none", device=device)
    speed = measure_speed(model, batch_size=8, batches=3)
    today = datetime.now(UTC).astimezone().date().isoformat()
    return MeasuredSpeed(1000 / speed.milliseconds, speed.device, speed.threads, platform.node(), today)
