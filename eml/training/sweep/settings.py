"""The settings of a sweep: a grid over the values of some keys."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from eml.errors import ConfigError, Problem

REPLICATES = ("seed", "data.fold")
"""Keys whose values make no other setting but repeat it."""
_LONGEST = 100  # characters of a folder's name
_NEXT = re.compile(r"\s+(?=[A-Za-z_][\w.]*=)")
_OPENING, _CLOSING = "([{", ")]}"


@dataclass(frozen=True)
class Axis:
    """A key and its values, as text of YAML."""

    key: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Setting:
    """A point of the grid.

    Attributes:
        assignments: Key and value, in the order of the axes.
    """

    assignments: tuple[tuple[str, str], ...]

    @property
    def overrides(self) -> list[str]:
        """The assignments as overrides of a config."""
        return [f"{key}={value}" for key, value in self.assignments]

    @property
    def name(self) -> str:
        """The assignments in a line, such as `margin=arcface, seed=0`."""
        return ", ".join(self.overrides)

    @property
    def group(self) -> str:
        """The name without what only repeats the setting: runs of one group are averaged."""
        named = [f"{key}={value}" for key, value in self.assignments if key not in REPLICATES]
        return ", ".join(named) or "as the config says"

    @property
    def folder(self) -> str:
        """The name of the run's folder; of a long name its beginning and a digest."""
        text = re.sub(r"[^\w.=+-]+", "_", "_".join(self.overrides))
        if len(text) <= _LONGEST and text == "_".join(self.overrides):
            return text
        digest = blake2b(self.name.encode(), digest_size=4).hexdigest()
        return f"{text[: _LONGEST - 9]}_{digest}"


def read_axes(texts: Sequence[str]) -> list[Axis]:
    """Return the axes that texts such as `margin=arcface,cosface seed=0,1` name.

    Commas divide values, but not within brackets or quotes; a space before another `key=` begins the next axis.

    Raises:
        ConfigError: A text is no key with values, or a key or value is there twice; all problems at once.
    """
    axes: list[Axis] = []
    problems: list[Problem] = []
    for text in (part for whole in texts for part in _NEXT.split(whole.strip())):
        key, equals, values = text.partition("=")
        key, parts = key.strip(), tuple(part.strip() for part in _split(values))
        if not equals or not key or not all(parts):
            message = f"`vary` {text}: must be key=value,value, such as margin=arcface,cosface"
            problems.append(Problem(message, "not-an-override", "vary"))
        elif key in {axis.key for axis in axes}:
            problems.append(Problem(f"`vary` {key}: is varied twice", "conflicting-settings", "vary"))
        elif len(set(parts)) < len(parts):
            problems.append(Problem(f"`vary` {text}: a value is there twice", "conflicting-settings", "vary"))
        else:
            axes.append(Axis(key, parts))
    if problems:
        raise ConfigError(problems)
    return axes


def grid(axes: Sequence[Axis]) -> list[Setting]:
    """Return every combination of the values, the last axis fastest."""
    pairs = [[(axis.key, value) for value in axis.values] for axis in axes]
    return [Setting(tuple(combination)) for combination in itertools.product(*pairs)]


def _split(text: str) -> list[str]:
    """Return the parts between commas that stand in no bracket and no quote."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth -= 1
        elif character == "," and depth == 0:
            parts.append("")
            continue
        parts[-1] += character
    return parts
