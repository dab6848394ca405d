"""Commands in messages can be pasted: a path in them is quoted."""

import ast
import re
from collections.abc import Iterable, Iterator

import pytest

from tests.sources import PACKAGE, files, nodes_of

pytestmark = pytest.mark.xdist_group("sources")
COMMANDS = "|".join(sorted(path.stem.replace("index_", "index ") for path in (PACKAGE / "commands").glob("*.py")))
BEFORE_A_PLACE = re.compile(rf"\beml ({COMMANDS})( --?[\w-]+| [A-Z]+)* (--?[\w-]+[ =])*$")
"""The text of an f-string before a value that stands where a path may stand in a command."""


def unquoted(nodes: Iterable[ast.AST]) -> Iterator[int]:
    """Yield the lines of f-strings that put a value into a command without shlex."""
    for node in nodes:
        if not isinstance(node, ast.JoinedStr):
            continue
        for text, value in zip(node.values, node.values[1:], strict=False):
            if not isinstance(text, ast.Constant) or not isinstance(value, ast.FormattedValue):
                continue
            if "eml " not in str(text.value) or not BEFORE_A_PLACE.search(str(text.value)):
                continue
            is_quoted = "shlex." in ast.unparse(value.value) or value.format_spec is not None
            if not is_quoted and not _is_number(value):
                yield node.lineno


def _is_number(value: ast.FormattedValue) -> bool:
    return ast.unparse(value.value).endswith((".size", "_size"))


def test_no_message_puts_a_path_into_a_command_without_quotes() -> None:
    lines = [f"{file}:{line}" for file in files() for line in unquoted(nodes_of(file))]
    assert not lines, f"write the command with shlex.join: {lines}"


def test_the_check_sees_a_path_that_is_not_quoted() -> None:
    wrong = 'f"Run: eml scan {root} --workers 1"', 'f"resume with eml train --resume {path}"'
    right = 'f"Run: eml scan {shlex.quote(str(root))}"', 'f"as eml scan does, {path} is read"', 'f"eml train for {x}"'
    assert [list(unquoted(ast.walk(ast.parse(text)))) for text in wrong] == [[1], [1]]
    assert [list(unquoted(ast.walk(ast.parse(text)))) for text in right] == [[], [], []]
