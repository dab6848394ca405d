"""The source location of each value of a config."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from eml.errors import Problem

Loc = tuple[str | int, ...]
"""The keys and indices that lead to a value."""


class SourceLocation(NamedTuple):
    """A line of the file, or an override. Sorts in the order in which the user wrote them, the file first."""

    override: int
    line: int
    text: str


class ConfigProblem(NamedTuple):
    """One line of a ConfigError, before its location is written in front of the message."""

    location: SourceLocation
    message: str
    code: str
    parameter: str | None = None


Locations = dict[Loc, SourceLocation]


def nearest_location(locations: Mapping[Loc, SourceLocation], loc: Loc) -> SourceLocation:
    """Return the location of `loc`, or of the innermost section around it that has one."""
    while loc not in locations:
        loc = loc[:-1]
    return locations[loc]


def dotted(loc: Loc) -> str:
    """Return `losses.1.gamma` for ("losses", 1, "gamma")."""
    return ".".join(map(str, loc))


def located(problems: Iterable[ConfigProblem]) -> list[Problem]:
    """Return `run.yaml:4: message` for each problem, without duplicates, in the order of the file."""
    ordered = sorted(problems, key=lambda problem: problem.location[:2])
    lines = [Problem(f"{place.text}: {message}", code, key) for place, message, code, key in ordered]
    return list(dict.fromkeys(lines))


def rename_subtree(locations: Locations, old: Loc, new: Loc) -> None:
    """Give the locations of `old` and of everything below it to `new`."""
    for loc in [loc for loc in locations if loc[: len(old)] == old]:
        locations[*new, *loc[len(old) :]] = locations.pop(loc)


def forget_below(locations: Locations, loc: Loc) -> None:
    """Remove the locations of everything below `loc`."""
    for inner in [inner for inner in locations if len(inner) > len(loc) and inner[: len(loc)] == loc]:
        del locations[inner]
