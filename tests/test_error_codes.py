"""Error codes are one system: each is on docs/errors.md, and a text names only what its reader can set."""

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from eml.commands.base import CommandConfig
from eml.images.identify import reason_code
from tests.sources import PACKAGE, files, nodes_of

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs" / "errors.md"
ERRORS = {"EmlError", "ConfigError", "DataError", "CheckpointError", "OutputError"}

pytestmark = pytest.mark.xdist_group("sources")

Positions = dict[str, int]


@cache
def code_positions(path: Path) -> Positions:
    """Return the position of the argument `code` of each function and class of a file that has one."""
    positions: Positions = {}
    for node in nodes_of(path):
        if isinstance(node, ast.ClassDef):
            fields = [line.target.id for line in node.body if isinstance(line, ast.AnnAssign) and is_name(line.target)]
            if "code" in fields and any(ast.unparse(base) == "NamedTuple" for base in node.bases):
                positions[node.name] = fields.index("code")
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and inner.name in ("__init__", "__new__"):
                    names = [argument.arg for argument in inner.args.args]
                    positions |= {node.name: names.index("code") - 1} if "code" in names else {}
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("__"):
            names = [argument.arg for argument in node.args.args if argument.arg != "self"]
            positions |= {node.name: names.index("code")} if "code" in names else {}
    return positions


def is_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Name)


def texts(node: ast.AST | None) -> Iterator[str]:
    """Yield the texts that an expression can be: a constant, the branches of a condition, the default of `.get`."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from (*texts(node.body), *texts(node.orelse))
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
        yield from texts(node.args[-1])
    elif isinstance(node, ast.Dict):
        yield from (text for value in node.values for text in texts(value))


def function_name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def assigned(target: ast.AST, value: ast.AST) -> Iterator[str]:
    """Yield the codes that an assignment binds: to `code`, or as the values of a dictionary `…CODES`."""
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for name, item in zip(target.elts, value.elts, strict=True):
            yield from assigned(name, item)
    elif isinstance(target, ast.Name) and (target.id == "code" or target.id.endswith("CODES")):
        yield from texts(value)


def codes_in(path: Path, everywhere: Positions) -> Iterator[str]:
    positions = everywhere | code_positions(path)
    for node in nodes_of(path):
        if isinstance(node, ast.Call):
            name = function_name(node)
            yield from (text for word in node.keywords if word.arg == "code" for text in texts(word.value))
            if name in positions and len(node.args) > positions[name]:
                yield from texts(node.args[positions[name]])
            if name in ("FileProblem", "ImageError") and len(node.args) > 1:
                yield from map(reason_code, texts(node.args[1]))
        elif isinstance(node, ast.Assign):
            yield from (text for target in node.targets for text in assigned(target, node.value))
        elif isinstance(node, ast.AugAssign):
            yield from assigned(node.target, node.value)
        elif isinstance(node, ast.FunctionDef):
            yield from (text for name, default in defaults(node) if name == "code" for text in texts(default))


def defaults(function: ast.FunctionDef) -> Iterator[tuple[str, ast.AST | None]]:
    """Yield the name and default of each parameter that has one."""
    arguments = function.args
    names = [*arguments.posonlyargs, *arguments.args]
    yield from ((name.arg, value) for name, value in zip(reversed(names), reversed(arguments.defaults), strict=False))
    yield from ((name.arg, value) for name, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))


@cache
def all_codes() -> frozenset[str]:
    everywhere = {name: place for path in files() for name, place in code_positions(path).items()}
    everywhere = {name: place for name, place in everywhere.items() if name[0].isupper()}
    return frozenset(code for path in files() for code in codes_in(path, everywhere))


@cache
def messages() -> tuple[tuple[str, str], ...]:
    """Return the place and text of every string of the library but docstrings."""
    library = [path for path in files() if path.relative_to(PACKAGE).parts[0] != "cli"]
    return tuple((f"{path.relative_to(REPOSITORY)}:{line}", text) for path in library for line, text in texts_in(path))


def texts_in(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and text of every string but docstrings; what an f-string inserts is written as {}."""
    inside: set[int] = set()
    for node in nodes_of(path):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            inside.add(id(node.value))
        if isinstance(node, ast.keyword) and node.arg == "description" and "commands" not in path.parts:
            inside |= {id(part) for part in ast.walk(node.value)}  # of a config key
        if isinstance(node, ast.JoinedStr) and id(node) not in inside:
            parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
            inside |= {id(part) for part in node.values}
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.lineno, node.value


def parameters() -> set[str]:
    """Return the fields of all commands' configs."""
    for path in (PACKAGE / "commands").glob("[a-z]*.py"):
        importlib.import_module(f"eml.commands.{path.stem}")
    classes, names = [CommandConfig], set()
    for config in classes:
        classes += config.__subclasses__()
        names |= set(config.model_fields)
    return names


def test_docs_errors_lists_every_code_of_the_package_and_no_other() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    listed = [code for code, _, _ in rows]
    assert len(listed) == len(set(listed))
    assert set(listed) == all_codes()


def test_codes_are_kebab_case() -> None:
    assert [code for code in all_codes() if not re.fullmatch(r"[a-z]+(-[a-z0-9]+)*", code)] == []


def test_an_error_made_of_a_text_has_a_code() -> None:
    bare = [
        f"{path.relative_to(REPOSITORY)}:{node.lineno}"
        for path in files()
        for node in nodes_of(path)
        if isinstance(node, ast.Call)
        and function_name(node) in ERRORS
        and isinstance(node.args[0], ast.Constant | ast.JoinedStr | ast.Name | ast.List)
        and not any(keyword.arg == "code" for keyword in node.keywords)
        and not (isinstance(node.args[0], ast.Name) and node.args[0].id in ("problems", "texts", "refused"))
        and not (isinstance(node.args[0], ast.List) and all(is_made(item) for item in node.args[0].elts))
    ]
    assert bare == []


def is_made(item: ast.AST) -> bool:
    """Return whether an item of a list of problems carries a code of its own."""
    return isinstance(item, ast.Call | ast.Starred)


def test_a_text_of_the_library_has_no_option_but_in_a_whole_command() -> None:
    allowed = re.compile(r"^--|\b(eml [a-z]+|pip install|accelerate launch|tensorboard|torchrun)\b.*? --?[a-z]", re.S)
    option = re.compile(r"--[a-z]")
    wrong = [f"{place}: {text}" for place, text in messages() if option.search(text) and not allowed.search(text)]
    assert wrong == []


def test_names_in_backquotes_are_parameters_of_a_command() -> None:
    names, quoted = parameters(), re.compile(r"`([^`=]*)(=[^`]*)?`")
    wrong = [
        f"{place}: {name} in {text!r}"
        for place, text in messages()
        for name, _ in quoted.findall(text)
        if name not in names and name != "{}"
    ]
    assert wrong == []
