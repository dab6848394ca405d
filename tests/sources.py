"""The package's files, each read and parsed once for all tests of the source.

These tests are of one group, `@pytest.mark.xdist_group("sources")`, so that one process parses them and no other.
"""

import ast
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "eml"


@cache
def files() -> tuple[Path, ...]:
    """All files of the package."""
    return tuple(sorted(PACKAGE.rglob("*.py")))


@cache
def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a file: not to be changed."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """All nodes of a file's tree, those further out first."""
    return tuple(ast.walk(tree_of(path)))
