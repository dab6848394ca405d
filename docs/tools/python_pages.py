"""Make the reference pages of what `import eml` offers: the commands' functions here, the rest by mkdocstrings."""

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

from command_pages import COMMON, escaped, google_attributes, result_text, result_types
from config_pages import bounds, leaves

import eml
from eml.commands.base import CommandFunction, CommandResult, type_text

FUNCTIONS = {
    "data": (
        "Data",
        "Folders, tables, splits and folds.",
        (
            "scan",
            "protocol",
            "merge",
            "filter",
            "split",
            "kfold",
            "audit",
            "report",
            "pack",
            "fill_cache",
            "merge_shards",
        ),
    ),
    "training": (
        "Training",
        "Configs and runs.",
        ("backbones", "probe", "init", "train", "sweep", "plot", "list_margins", "demo", "doctor"),
    ),
    "measuring": (
        "Measuring",
        "Metrics, thresholds, wrong labels, and ways to embed.",
        ("evaluate", "calibrate", "suspects", "compress", "ensemble"),
    ),
    "using": (
        "Embedding and export",
        "Embeddings in files, and models for elsewhere.",
        ("embed", "text", "export", "push", "upload"),
    ),
    "indexing": (
        "Index",
        "An index of images, and its answers.",
        (
            *("build_index", "add_to_index", "remove_from_index", "index_info", "verify_index", "compact_index"),
            *("calibrate_index", "export_index", "search", "classify"),
            *("serve", "add_serve_key", "list_serve_keys", "remove_serve_key"),
        ),
    ),
}
"""Page → its title, a summary, and the commands' functions on it."""

CLASSES = {
    "model": (
        "Models",
        "`eml.load` and what it returns: images in, embeddings out.",
        {
            "eml.load": "eml.inference.any_model.load",
            "eml.Model": "eml.inference.model.Model",
            "ExportedModel": "eml.inference.exported.model.ExportedModel",
        },
    ),
    "image_index": (
        "The index in Python",
        "`eml.Index`: images that answer.",
        {"eml.Index": "eml.indexing.index.Index"},
    ),
    "head": (
        "Margins and the class head",
        "For a training loop of your own.",
        {
            "eml.ClassHead": "eml.head.class_head.ClassHead",
            "eml.margin_logits": "eml.head.functional.margin_logits",
            "eml.margin_loss": "eml.head.functional.margin_loss",
            "Margin": "eml.margins.base.Margin",
        },
    ),
    "config": (
        "The config in Python",
        "`eml.RunConfig`, and reading and writing it. Its fields are the [config keys](../config.md).",
        {
            "eml.RunConfig": "eml.training.config.RunConfig",
            "eml.load_plugins": "eml.config.plugins.load_plugins",
            "eml.config.load": "eml.config.loading.load",
            "eml.config.document": "eml.config.yaml_writer.document",
            "eml.config.dump": "eml.config.yaml_writer.dump",
        },
    ),
    "errors": (
        "Exceptions",
        "The family of `eml.EmlError`. The codes are on [a page of their own](../../errors.md).",
        {
            f"eml.{name}" if name == "EmlError" else f"eml.errors.{name}": f"eml.errors.{name}"
            for name in (
                "EmlError",
                "Problem",
                "ConfigError",
                "DataError",
                "CheckpointError",
                "OutputError",
                "Interrupted",
            )
        },
    ),
}
"""Page → its title, a summary, and the name of each thing on it → where it is."""

INTRODUCTION = """# Python

Every command is a function of its name: it takes the command's options, prints nothing, and returns a typed result.
The results and the classes are fully typed (`py.typed`); `import eml` imports nothing heavy, each name is loaded on
first use.

```python
import eml

result = eml.split("photos", by="ratio", test_ratio=0.2)
print(result.counts["train"].images)
model = eml.load("photos/run")
embeddings = model.embed(["a.jpg", "b.jpg"])  # (2, D), float32, unit length
```

A function also takes a config object, `eml.split(config, by="alternate")`, whose fields the keywords replace.
`progress=True` shows bars on stderr. A problem that you can solve raises [`eml.EmlError`](errors.md). What is not on
these pages is private.

"""


def python_pages() -> dict[str, str]:
    """Return path under reference/python/ → Markdown. Raises ValueError where a public name is on no page."""
    on_pages = [name for _, _, names in FUNCTIONS.values() for name in names]
    on_pages += [name.removeprefix("eml.") for _, _, names in CLASSES.values() for name in names]
    if missing := set(eml.__all__) - {"__version__", *on_pages}:
        raise ValueError(f"public names on no page of docs/tools/python_pages.py: {sorted(missing)}")
    pages = {"index.md": overview()}
    pages |= {
        f"{page}.md": functions_page(title, summary, names) for page, (title, summary, names) in FUNCTIONS.items()
    }
    return pages | {
        f"{page}.md": classes_page(title, summary, places) for page, (title, summary, places) in CLASSES.items()
    }


def overview() -> str:
    """Return the page that lists all public names."""
    lines = [INTRODUCTION]
    for page, (title, _, names) in FUNCTIONS.items():
        lines += [f"## {title}", "", "| | |", "|---|---|"]
        lines += [
            f"| [`eml.{name}`]({page}.md#eml.{name}) | {escaped(first_sentence(getattr(eml, name)))} |"
            for name in names
        ]
        lines.append("")
    lines += ["## Classes and functions", "", "| | |", "|---|---|"]
    for page, (_, _, places) in CLASSES.items():
        lines += [
            f"| [`{name}`]({page}.md#{place}) | {escaped(first_sentence(at(place)))} |"
            for name, place in places.items()
        ]
    return "\n".join([*lines, "| `eml.__version__` | The version, such as 0.2.0 |", ""])


def first_sentence(documented: Any) -> str:
    """Return the first sentence of a docstring, on one line."""
    paragraph = (inspect.getdoc(documented) or documented.__doc__ or "").strip().partition("\n\n")[0].replace("\n", " ")
    return re.split(r"(?<=[^.]\w)[.:] (?=[A-Z])", paragraph)[0].rstrip(".")


def at(place: str) -> Any:
    """Return what a dotted place has."""
    module, _, name = place.rpartition(".")
    return getattr(importlib.import_module(module), name)


def classes_page(title: str, summary: str, places: Mapping[str, str]) -> str:
    """Return a page that mkdocstrings fills."""
    lines = [f"# {title}", "", summary, ""]
    for name, place in places.items():
        lines += [f"::: {place}", "    options:", f'      heading: "{name}"', f'      toc_label: "{name}"', ""]
    return "\n".join(lines)


def functions_page(title: str, summary: str, names: Iterable[str]) -> str:
    """Return the page of some commands' functions, with the types of their results."""
    lines = [f"# {title}", "", summary, ""]
    types: dict[str, type[Any]] = {}
    for name in names:
        lines += function_lines(getattr(eml, name), types)
    lines += ["## Common to all results", "", *class_lines(CommandResult, {}, level=3)]
    if types:
        lines += ["## Types of the results", ""]
        for kind in sorted(types.values(), key=lambda kind: kind.__name__):
            lines += class_lines(kind, types, level=3)
    return "\n".join(lines)


def function_lines(function: CommandFunction[Any], types: dict[str, type[Any]]) -> list[str]:
    """Return a function's section; the types that its result names are added to `types`."""
    name = f"eml.{function.__name__}"
    help_text = inspect.cleandoc(function.config_type.__doc__ or "")
    lines = [f"## `{name}` {{ #{name} }}", "", marked(help_text), "", "```python", *signature(function), "```", ""]
    lines += ["**Parameters**", ""]
    for key, info in function.config_type.model_fields.items():
        limits = "".join(dict.fromkeys(bounds(tuple(info.metadata), branch) for branch, _ in leaves(info.annotation)))
        facts = ["required"] if info.is_required() else []
        facts += [limits.removeprefix(", ")] if limits else []
        lines.append(f"- `{key}`{in_brackets(facts)}: {marked(info.description or '')}")
    lines += ["- `progress`: `True` shows bars on stderr; or a function that makes them.", ""]
    result = str(inspect.signature(function.run).return_annotation)
    lines += ["**Returns**", ""]
    for kind in result_types(function, result):
        lines += class_lines(getattr(sys.modules[function.__module__], kind), types, level=4)
    return [
        *lines,
        f"On the command line: [eml {function.command}](../commands/{function.command.replace(' ', '_')}.md)",
        "",
    ]


def in_brackets(facts: Sequence[str]) -> str:
    """Return ` (required, at least 1)`, or nothing."""
    return f" ({', '.join(facts)})" if facts else ""


def signature(function: CommandFunction[Any]) -> list[str]:
    """Return the lines of a call with all parameters."""
    options = function.config_type.model_fields
    ordered = [*function.arguments, *(name for name in options if name not in function.arguments)]
    parameters = []
    for name in ordered:
        default = "" if options[name].is_required() else f" = {options[name].get_default(call_default_factory=True)!r}"
        parameters.append(f"{name}: {type_text(options[name].annotation)}{default}")
    parameters.insert(len(function.arguments), "*")
    result = str(inspect.signature(function.run).return_annotation)
    return [
        f"eml.{function.__name__}(",
        *(f"    {text}," for text in [*parameters, "progress: Progress | bool | None = None"]),
        f") -> {result}",
    ]


def class_lines(kind: type[Any], types: dict[str, type[Any]], level: int) -> list[str]:
    """Return a dataclass with its attributes; the types that they name are added to `types`, with theirs."""
    docstring = inspect.cleandoc(kind.__doc__ or "")
    if docstring.startswith(f"{kind.__name__}("):  # which dataclass writes where there is no docstring
        docstring = ""
    text, texts = result_text(docstring), google_attributes(docstring)
    lines = [f"{'#' * level} `{kind.__name__}` {{ #{kind.__name__} }}", "", text, ""]
    for item in fields(kind):
        if item.name in COMMON and kind is not CommandResult:
            continue
        named = [name for name in re.findall(r"\w+", str(item.type)) if add_type(kind.__module__, name, types)]
        links = ", ".join(f"[{name}](#{name})" for name in dict.fromkeys(named))
        says = f": {marked(texts[item.name])}" if item.name in texts else ""
        lines.append(
            f"- `{item.name}: {item.type if isinstance(item.type, str) else type_name(item.type)}`{says}"
            + (f" → {links}" if links else "")
        )
    return [*lines, ""]


def add_type(module: str, name: str, types: dict[str, type[Any]]) -> bool:
    """Add a dataclass of eml that a module names, and those that its attributes name. Return whether it is one."""
    kind = resolve(module, name)
    if not (isinstance(kind, type) and is_dataclass(kind) and kind.__module__.startswith("eml.")):
        return False
    if types.get(name, kind) is not kind:
        raise ValueError(f"two classes are called {name}")
    if name not in types:
        types[name] = kind
        for item in fields(kind):
            for inner in re.findall(r"\w+", str(item.type)):
                add_type(kind.__module__, inner, types)
    return True


def resolve(module: str, name: str) -> Any:
    """Return what a name stands for in a module, also where only type checkers import it; None: nothing."""
    if hasattr(importlib.import_module(module), name):
        return getattr(importlib.import_module(module), name)
    place = imports_of(module).get(name)
    return (
        None if place is None or not place.startswith("eml.") else getattr(importlib.import_module(place), name, None)
    )


@cache
def imports_of(module: str) -> dict[str, str]:
    """Return name → module of each `from … import …` of a module."""
    tree = ast.parse(inspect.getsource(importlib.import_module(module)))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return {alias.asname or alias.name: str(node.module) for node in imports for alias in node.names}


def type_name(kind: Any) -> str:
    """Return a type as code."""
    return (
        kind.__name__
        if isinstance(kind, type) and not getattr(kind, "__args__", None)
        else re.sub(r"\b(\w+\.)+", "", str(kind))
    )


def marked(text: str) -> str:
    """Return a docstring as Markdown: what stands in backquotes is code, everything else stands for itself."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else escaped(part) for part in parts)
