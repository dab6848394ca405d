"""The code speaks the field's language: names are nouns, docstrings are sentences, a class name occurs once.

`python tests/test_language.py [PATH …]` lists what breaks the rules, for the paths given or the whole package.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "eml"
sys.path.insert(0, str(PACKAGE.parent))  # where it is run as a script

pytestmark = pytest.mark.xdist_group("sources")

FILLERS = {*("each", "found", "told", "wanted", "asked", "made", "given", "taken", "one", "other", "how", "what")}
"""Words that say nothing about the thing that they name."""

NO_VERBS = {
    *("What", "Of", "As", "Where", "How", "When", "Whether", "Which", "That", "Those", "This", "It", "They", "There"),
    *("The", "A", "An", "All", "Any", "Each", "Every", "Both", "One", "Some", "Several", "No", "None", "Nothing"),
    *("For", "From", "By", "In", "On", "With", "Without", "Until", "While", "Before", "After", "Between", "Beside"),
    *("Rows", "Numbers", "Names", "Only", "Such", "Same", "Like", "Not", "Never", "Perhaps", "Is", "Are"),
}
"""First words of a function's docstring that is no sentence with a verb."""


def is_property(function: ast.FunctionDef) -> bool:
    decorators = [ast.unparse(decorator) for decorator in function.decorator_list]
    return any(decorator.endswith(("property", ".setter")) for decorator in decorators)


def filler_names(nodes: Iterable[ast.AST]) -> Iterator[tuple[int, str]]:
    """Yield the line and name of every variable, parameter, field or function that is called by a filler."""
    for node in nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id.strip("_") in FILLERS:
            yield node.lineno, node.id
        elif isinstance(node, ast.arg) and node.arg.strip("_") in FILLERS:
            yield node.lineno, node.arg
        elif isinstance(node, ast.FunctionDef) and node.name.strip("_") in FILLERS:
            yield node.lineno, node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and node.attr.strip("_") in FILLERS:
            yield node.lineno, node.attr
        elif isinstance(node, ast.MatchAs | ast.MatchStar) and node.name in FILLERS:
            yield node.lineno, str(node.name)


def fragments(nodes: Iterable[ast.AST]) -> Iterator[tuple[int, str]]:
    """Yield the line and text of every function docstring that does not begin with a verb, a shape or a formula."""
    for node in nodes:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
            continue
        text = first_line(node)
        first = text.split()[0] if text else ""
        if not isinstance(node, ast.FunctionDef):
            if first in {"What", "Of", "As", "Where", "How"}:
                yield getattr(node, "lineno", 1), text
        elif first.strip(",:;.") in NO_VERBS and not is_property(node) and not is_command(node):
            yield node.lineno, text


def first_line(node: ast.FunctionDef | ast.ClassDef | ast.Module) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0]


def is_command(function: ast.FunctionDef) -> bool:
    decorators = [ast.unparse(decorator) for decorator in function.decorator_list]
    return any("command(" in decorator or "callback(" in decorator for decorator in decorators)


def class_names(nodes: Iterable[ast.AST]) -> Iterator[str]:
    yield from (node.name for node in nodes if isinstance(node, ast.ClassDef))


def sources(paths: list[Path]) -> Iterator[tuple[Path, tuple[ast.AST, ...]]]:
    from tests.sources import nodes_of

    for path in paths:
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            yield file, nodes_of(file)


def problems(paths: list[Path]) -> list[str]:
    lines = []
    for file, nodes in sources(paths):
        lines += [f"{file}:{line}: name {name!r} says nothing" for line, name in filler_names(nodes)]
        lines += [f"{file}:{line}: docstring is no sentence: {text}" for line, text in fragments(nodes)]
    return lines


def twice_named_classes() -> dict[str, list[str]]:
    places: dict[str, list[str]] = defaultdict(list)
    for file, nodes in sources([PACKAGE]):
        for name in class_names(nodes):
            places[name].append(str(file.relative_to(PACKAGE)))
    return {name: files for name, files in places.items() if len(files) > 1}


def test_names_are_nouns_and_docstrings_are_sentences() -> None:
    assert not (lines := problems([PACKAGE])), "\n".join(lines)


def test_a_class_name_occurs_once_in_the_package() -> None:
    assert not twice_named_classes()


def test_the_check_sees_fillers_and_fragments() -> None:
    nodes = list(ast.walk(ast.parse('def given(what):\n    """Of it."""\n    return [each for each in what]\n')))
    assert sorted(name for _, name in filler_names(nodes)) == ["each", "given", "what"]
    assert [text for _, text in fragments(nodes)] == ["Of it."]


if __name__ == "__main__":
    print("\n".join(problems([Path(name) for name in sys.argv[1:]] or [PACKAGE])))
    print(*(f"class {name}: {', '.join(files)}" for name, files in twice_named_classes().items()), sep="\n")
