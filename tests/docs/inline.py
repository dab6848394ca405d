"""Calls of eml within sentences and tables, as `eml split photos --by ratio`: the command and its options exist."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import typer

from eml.cli.app import COMMANDS, app
from eml.training.config import RunConfig

BEGUN = {"docs/shell.md"}
"""Pages with words that are being typed, as `eml tr`."""

_CODE = re.compile(r"(?<![`\w])(`+)(?!`)(eml\s+[a-z].*?)(?<!`)\1(?!`)", re.DOTALL)
_FENCED = re.compile(r"^ *(`{3,}|~{3,}).*?^ *\1 *$", re.MULTILINE | re.DOTALL)


def inline_problems(place: str, text: str) -> Iterator[str]:
    """Yield what is wrong with the calls of eml in a page's sentences.

    Args:
        place: The page, as docs/text.md.
        text: Of the page.
    """
    if place in BEGUN:
        return
    sentences = _FENCED.sub(lambda match: "\n" * match[0].count("\n"), text)
    for match in _CODE.finditer(sentences):
        line = sentences.count("\n", 0, match.start()) + 1
        for problem in _call_problems(match[2].split()[1:]):
            yield f"{place}:{line}: `{' '.join(match[2].split())}`: {problem}"


def _call_problems(words: list[str]) -> Iterator[str]:
    name, rest = words[0].strip("…,.;:"), words[1:]
    if name not in COMMANDS:
        yield f"there is no command '{name}'"
        return
    command = _command(name)
    members = getattr(command, "commands", None)
    if members:
        if not rest or not re.fullmatch(r"[a-z]+", rest[0]):
            return
        if rest[0] not in members:
            yield f"there is no command '{name} {rest[0]}'"
            return
        command = members[rest[0]]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    takes_others = "--set" in known
    for word in rest:
        option = re.match(r"--[a-z][\w-]*", word)
        if not option or option[0] in {*known, "--help"}:
            continue
        if not (takes_others and option[0][2:].replace("-", "_") in RunConfig.model_fields):
            yield f"there is no option '{option[0]}'"


@cache
def _command(name: str) -> Any:
    group: Any = typer.main.get_command(app)
    return group.get_command(None, name)
