"""Write eml/__init__.pyi, by which mypy, pyright and editors know the signatures of `eml.scan(…)` and the others.

    python docs/tools/make_stub.py

They are made from the fields of the commands' configs; a test says when the file is out of date.
"""

import inspect
from importlib import import_module
from pathlib import Path

import eml
from eml.commands.base import type_text

STUB = Path(eml.__file__).with_name("__init__.pyi")
HEAD = '''"""Made by docs/tools/make_stub.py from the commands' configs: do not edit."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, overload

from eml.progress import Progress
'''


def stub() -> str:
    """Return what eml/__init__.pyi should hold."""
    imports: dict[str, set[str]] = {}
    parts = []
    names = [name for name in eml.__all__ if name != "__version__"]
    for name in names:
        thing = getattr(eml, name)
        if not hasattr(thing, "config_type"):
            imports.setdefault(eml._PLACES[name], set()).add(f"{name} as {name}")
            continue
        result = inspect.signature(thing.run).return_annotation
        imports.setdefault(thing.__module__, set()).update({thing.config_type.__name__, result})
        parts.append(_overloads(name, thing, result))
    lines = [f"from {module} import {', '.join(sorted(imports[module]))}" for module in sorted(imports)]
    exported = "\n".join(["__version__: str", f"__all__ = {['__version__', *names]!r}".replace("'", '"')])
    return "\n".join([HEAD + "\n".join(lines), "", exported, "", *parts])


def _overloads(name: str, function: object, result: str) -> str:
    """Return the two ways to call a command: with a config, or with its fields."""
    config_type = function.config_type
    progress = "progress: Progress | bool | None = None"
    fields, positional = [], True
    ordered = [*function.arguments, *(field for field in config_type.model_fields if field not in function.arguments)]
    required = [field for field in ordered if config_type.model_fields[field].is_required()]
    optional = [field for field in ordered if field not in required]
    for field in [*required, *optional]:
        info = config_type.model_fields[field]
        if positional and field not in function.arguments:
            fields.append("*")
            positional = False
        default = "" if info.is_required() else " = ..."
        fields.append(f"{field}: {type_text(info.annotation)}{default}")
    if positional:
        fields.append("*")
    others = ["**others: Any"] if function.others else []
    return "\n".join(
        [
            "@overload",
            f"def {name}(config: {config_type.__name__}, /, *, {progress}) -> {result}: ...",
            "@overload",
            f"def {name}({', '.join([*fields, progress, *others])}) -> {result}: ...",
        ]
    )


if __name__ == "__main__":
    for module in set(eml._PLACES.values()):
        import_module(module)
    STUB.write_text(stub(), encoding="utf-8")
