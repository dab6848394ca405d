"""A command line up to the cursor: its command, what is set, and which word is being typed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from eml.cli.completing.tables import read_tables

ROOT_OPTIONS = {"--help": "Show this message and exit", "--version": "Show the version and exit"}


@dataclass
class Situation:
    """The line before the cursor, and the word at it.

    Args:
        current: The word at the cursor, as far as it is typed.
        command: `index build`; None before there is one.
        group: The first word of commands that share it, where the second is missing.
        values: Field → values of its options and arguments.
        option: The option whose value is typed; None: an option or argument.
        lead: The beginning of the word that is not part of the value: `--set=`.
        argument: The argument that is next; None where there is none.
        only_arguments: Whether `--` stands before.
    """

    current: str
    command: str | None = None
    group: str | None = None
    values: dict[str, list[str]] = field(default_factory=dict)
    option: dict[str, Any] | None = None
    lead: str = ""
    argument: dict[str, Any] | None = None
    only_arguments: bool = False

    @property
    def entry(self) -> dict[str, Any]:
        """The command's arguments and options."""
        entry: dict[str, Any] = read_tables()["commands"][self.command]
        return entry

    def first(self, *names: str) -> str | None:
        """Return the first value of the first of these fields that has one."""
        return next((values[0] for name in names if (values := self.values.get(name))), None)


def read_words(words: Sequence[str], current: str) -> Situation | None:
    """Return what stands before the cursor; None behind a command that does not exist.

    Args:
        words: Those between `eml` and the cursor.
        current: The word at the cursor.
    """
    commands = read_tables()["commands"]
    situation = Situation(current)
    rest = [word for word in words if word]
    while rest and situation.command is None:
        word = rest.pop(0)
        if word.startswith("-") and situation.group is None:
            continue
        name = f"{situation.group} {word}" if situation.group else word
        if name not in commands:
            return None
        is_group = "members" in commands[name]
        situation.group, situation.command = (name, None) if is_group else (None, name)
    if situation.command is not None:
        _read_values(situation, rest)
    return situation


def _read_values(situation: Situation, words: Sequence[str]) -> None:
    options = {name: option for option in situation.entry.get("options", []) for name in option["names"]}
    others = situation.entry.get("others")
    arguments: list[str] = []
    pending: dict[str, Any] | None = None
    for word in words:
        name, equals, value = word.partition("=")
        if pending is not None:
            _keep(situation, pending, word)
            pending = None
        elif situation.only_arguments or not word.startswith("-") or word == "-":
            arguments.append(word)
        elif word == "--":
            situation.only_arguments = True
        elif name in options and not options[name].get("flag"):
            if equals:
                _keep(situation, options[name], value)
            else:
                pending = options[name]
        elif name in options:
            _keep(situation, options[name], "")
        elif others and name.startswith("--"):
            as_set = {**options[others], "key": name[2:].replace("-", "_")}
            if equals:
                _keep(situation, as_set, value)
            else:
                pending = as_set
    _give_arguments(situation, arguments)
    name, equals, value = situation.current.partition("=")
    if pending is None and equals and not situation.only_arguments and not options.get(name, {}).get("flag", False):
        if name in options:
            pending = options[name]
        elif others and name.startswith("--"):
            pending = {**options[others], "key": name[2:].replace("-", "_")}
        if pending is not None:
            situation.lead, situation.current = f"{name}=", value
    situation.option = pending


def _keep(situation: Situation, option: dict[str, Any], value: str) -> None:
    text = f"{option['key']}={value}" if "key" in option else value
    situation.values.setdefault(option["name"], []).append(text)


def _give_arguments(situation: Situation, words: Sequence[str]) -> None:
    """Give the words to the arguments in their order, and say which is next."""
    arguments = situation.entry.get("arguments", [])
    for place, word in enumerate(words):
        if arguments:
            argument = arguments[min(place, len(arguments) - 1)]
            situation.values.setdefault(argument["name"], []).append(word)
    if len(words) < len(arguments):
        situation.argument = arguments[len(words)]
    elif arguments and arguments[-1]["several"]:
        situation.argument = arguments[-1]
