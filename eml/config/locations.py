"""Where each value of a config came from."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

Loc = tuple[str | int, ...]
"""The keys and indices that lead to a value."""


class SourceLocation(NamedTuple):
    """A line of the file, or an override; sorted as the user wrote them, the file first."""

    override: int
    line: int
    text: str


class Problem(NamedTuple):
    """One line of a ConfigError."""

    origin: SourceLocation
    message: str


Origins = dict[Loc, SourceLocation]


def nearest(origins: Mapping[Loc, SourceLocation], loc: Loc) -> SourceLocation:
    """The origin of `loc`, or of the innermost section around it that has one."""
    while loc not in origins:
        loc = loc[:-1]
    return origins[loc]


def dotted(loc: Loc) -> str:
    """`losses.1.gamma`."""
    return ".".join(map(str, loc))


def lines(problems: Iterable[Problem]) -> list[str]:
    """`run.yaml:4: message` for each problem, in the order of the file, each once."""
    ordered = sorted(problems, key=lambda problem: problem.origin[:2])
    return list(dict.fromkeys(f"{problem.origin.text}: {problem.message}" for problem in ordered))
