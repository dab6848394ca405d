"""Options that a command does not have, as keys of the config that it reads: `--epochs 3` is `--set epochs=3`."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from eml.cli.help_page import PlainCommand

MISSPELT = 0.8
"""How similar a word must be to an option of the command to be left to its parser, which names the nearest."""


def takes_others(option: str) -> type[PlainCommand]:
    """Return the class of commands that give any other `--key value` to `option` as `key=value`."""

    class CommandWithOthers(PlainCommand):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            known = {
                name: not getattr(param, "is_flag", False)
                for param in self.get_params(ctx)
                if param.param_type_name == "option"
                for name in (*param.opts, *param.secondary_opts)
            }
            return list(super().parse_args(ctx, give_others(args, known, option)))

    return CommandWithOthers


def give_others(words: Sequence[str], known: Mapping[str, bool], option: str) -> list[str]:
    """Return the words with every `--key value` that is not known as `option key=value`.

    Args:
        words: The command line after the command's name.
        known: Option → whether it takes a value.
        option: The option that takes `key=value`.
    """
    result: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*result, word, *rest]
        name, mark, value = word.partition("=")
        is_last = not rest or rest[0].startswith("--")
        if name in known:
            result += [word, *([rest.pop(0)] if known[name] and not mark and rest else [])]
        elif not name.startswith("--") or (is_last and not mark) or get_close_matches(name, known, 1, MISSPELT):
            result.append(word)
        else:
            key = name.removeprefix("--").replace("-", "_")
            result += [option, f"{key}={value if mark else rest.pop(0)}"]
    return result
