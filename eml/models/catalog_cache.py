"""Keeps what was found out of backbones on this machine: facts of one set of versions, and measured speeds."""

import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

from eml.files import write_json
from eml.images.image_size import size_word
from eml.json_files import read_json
from eml.models.backbones import preprocess_of
from eml.models.catalog import BackboneFacts, facts_of
from eml.versions import version_of

SHIPPED = Path(__file__).with_name("catalog_facts.json")
"""The facts of the usual and the tested backbones, which take half a minute to find out; docs/tools/backbones_table.py
makes it."""
_PACKAGES = ("easy-metric-learning", "timm", "open_clip_torch")
_KEPT_PREFIXES = ("open_clip:",)
"""Of families whose networks change with the version of a package alone."""


@dataclass(frozen=True)
class MeasuredSpeed:
    """The speed of a backbone, with random weights, which take as long as any others.

    Attributes:
        images_per_second: Without reading the images.
        device: Where it was measured: cpu, cuda:0, …
        threads: Of torch; on a GPU they hardly matter.
        machine: The machine's name in its network.
        date: The day, such as 2026-11-30.
    """

    images_per_second: float
    device: str
    threads: int
    machine: str
    date: str


@dataclass(frozen=True)
class CatalogContent:
    """The content of the file.

    Attributes:
        versions: Package → version, for which the facts hold.
        facts: Backbone and size → facts.
        speeds: Backbone's name → the last speed.
    """

    versions: dict[str, str] = field(default_factory=dict)
    facts: dict[str, BackboneFacts] = field(default_factory=dict)
    speeds: dict[str, MeasuredSpeed] = field(default_factory=dict)


class CatalogCache:
    """A file in the user's cache; without a place that can be written nothing is kept.

    Args:
        file: Where; None: eml/backbones.json in $XDG_CACHE_HOME or ~/.cache.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file or _user_cache() / "eml" / "backbones.json"
        content = CatalogContent()
        with suppress(OSError, ValueError):
            content = read_json(self.file, CatalogContent)
        versions = {name: version_of(name) or "none" for name in _PACKAGES}
        facts = content.facts if content.versions == versions else {}
        self._content = CatalogContent(versions, facts, content.speeds)

    def facts(self, name: str) -> BackboneFacts:
        """Return what is known of a backbone; one that is not shipped is built without memory the first time.

        Raises:
            ConfigError: The backbone is unknown.
        """
        key = catalog_key(name)
        if key is None:
            return facts_of(name)
        if key in (shipped := shipped_facts()):
            return shipped[key]
        if key not in self._content.facts:
            self._content.facts[key] = facts_of(name)
        return self._content.facts[key]

    def speed(self, name: str) -> MeasuredSpeed | None:
        """Return the last measured speed of a backbone."""
        return self._content.speeds.get(name)

    def keep_speed(self, name: str, speed: MeasuredSpeed) -> None:
        """Remember a speed."""
        self._content.speeds[name] = speed

    def write(self) -> None:
        """Write the file, if that is possible."""
        with suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.file, asdict(self._content))


@cache
def shipped_facts() -> dict[str, BackboneFacts]:
    """Return architecture and size → facts, of the backbones that `eml backbones` shows without a pattern."""
    content: CatalogContent = read_json(SHIPPED, CatalogContent)
    return content.facts


def catalog_key(name: str) -> str | None:
    """Return the architecture and size, for which the facts hold; None for a backbone that is not kept."""
    if not name.startswith(_KEPT_PREFIXES) and ":" in name:
        return None
    architecture = name.rpartition("/")[0] or name if ":" in name else name.partition(".")[0]
    return f"{architecture} {size_word(preprocess_of(name).size)}"


def _user_cache() -> Path:
    place = os.environ.get("XDG_CACHE_HOME")
    return Path(place) if place else Path.home() / ".cache"
