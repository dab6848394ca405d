"""Write eml/__init__.pyi, by which mypy, pyright and editors know the signatures of `eml.scan(…)` and the others.

    python docs/tools/make_stub.py

They are made from the fields of the commands' configs; a test says when the file is out of date.
"""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import eml
from eml.commands.base import CommandFunction, type_text

STUB = Path(eml.__file__).with_name("__init__.pyi")
LINE_LENGTH = 120
USUAL = {"train": ({"fold": "None", "dry_run": "Literal[False]", "preview": "Literal[False]"}, "TrainResult")}
"""Function of several results → the fields, with their types, of the usual call, and its result."""

ANYWHERE = 'Literal["local", "ray", "slurm"]'
NEEDED = ("int", ANYWHERE)
"""Types of fields that a way to call a command is known by, so that it has no default for them."""

HEAD = '''"""Made by docs/tools/make_stub.py from the commands' configs: do not edit."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, overload
'''


def stub() -> str:
    """Return what eml/__init__.pyi should hold, as ruff formats it."""
    imports: set[tuple[str, str]] = {("eml.progress", "Progress")}
    parts = []
    names = [name for name in eml.__all__ if name != "__version__"]
    for name in names:
        thing = getattr(eml, name)
        if not hasattr(thing, "config_type"):
            imports.add((eml._PLACES[name], f"{name} as {name}"))
            continue
        result = inspect.signature(thing.run).return_annotation
        imports |= {(thing.__module__, thing.config_type.__name__), (thing.__module__, result)}
        imports |= {(thing.__module__, USUAL[name][1])} if name in USUAL else set()
        shard_results = {("eml.commands.sharded", "ShardResult"), ("eml.commands.sharded", "SubmittedResult")}
        imports |= shard_results if _is_sharded(thing) else set()
        parts += _overloads(name, thing, result)
    exported = ["__version__: str", *_exploded("__all__ = [", [f'"{name}"' for name in sorted(eml.__all__)], "]")]
    return "\n".join([HEAD, *_import_lines(imports), "", *exported, "", *parts, ""])


def _import_lines(imports: set[tuple[str, str]]) -> list[str]:
    """Return the imports sorted; `name as name`, which exports a name, stands on a line of its own."""
    lines = []
    for module in sorted({module for module, _ in imports}):
        names = sorted(name for place, name in imports if place == module)
        plain = [name for name in names if " as " not in name]
        lines += [f"from {module} import {', '.join(plain)}"] if plain else []
        lines += [f"from {module} import {name}" for name in names if " as " in name]
    return lines


def _overloads(name: str, function: CommandFunction[Any], result: str) -> list[str]:
    """Return the ways to call a command: with a config, with its fields, and where there is one the usual way."""
    progress = "progress: Progress | bool | None = None"
    others = ["**others: Any"] if function.others else []
    changes = ["**changes: Any"] if function.config_type.model_fields else []
    config = [f"config: {function.config_type.__name__}", "/", "*", progress, *changes]
    lines = ["@overload", *_definition(name, config, result)]
    calls: list[tuple[dict[str, str], str]] = [*([USUAL[name]] if name in USUAL else []), ({}, result)]
    if _is_sharded(function):
        here = 'Literal["local", "ray"] | None'
        calls = [
            ({"shards": "None", "shard": "None", "executor": here}, result),
            ({"shards": "int", "executor": "None"}, "ShardResult"),
            ({"executor": ANYWHERE}, f"{result} | SubmittedResult"),
        ]
    for types, returned in calls:
        fields = _parameters(function, types)
        parameters = [*fields, *([] if "*" in fields else ["*"]), progress, *others]
        lines += ["@overload", *_definition(name, parameters, returned)]
    return lines


def _is_sharded(function: CommandFunction[Any]) -> bool:
    """Return whether the command can do one shard of its work, whose result is another one."""
    return "shards" in function.config_type.model_fields


def _parameters(function: CommandFunction[Any], types: Mapping[str, str]) -> list[str]:
    """Return a command's fields as parameters; those that are no arguments follow a `*`. types: of some fields."""
    fields = function.config_type.model_fields
    names = [*function.arguments, *(name for name in fields if name not in function.arguments)]
    parameters = []
    for name in names:
        if name not in function.arguments and "*" not in parameters:
            parameters.append("*")
        is_needed = fields[name].is_required() or types.get(name) in NEEDED
        default = "" if is_needed else " = ..."
        parameters.append(f"{name}: {types.get(name) or type_text(fields[name].annotation)}{default}")
    return parameters


def _definition(name: str, parameters: Sequence[str], result: str) -> list[str]:
    line = f"def {name}({', '.join(parameters)}) -> {result}: ..."
    return [line] if len(line) <= LINE_LENGTH else _exploded(f"def {name}(", parameters, f") -> {result}: ...")


def _exploded(head: str, items: Sequence[str], tail: str) -> list[str]:
    """Return one line for each item, as ruff writes what is too long for a line."""
    return [head, *(f"    {item}," for item in items), tail]


if __name__ == "__main__":
    STUB.write_text(stub(), encoding="utf-8")
