"""Running the blocks of a page, in order, in a folder prepared for it."""

import ast
import traceback
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from eml.cli.exit_codes import FIXABLE
from tests.docs.blocks import Block, Page
from tests.docs.expectations import EXPECTATIONS
from tests.docs.prepared import ALWAYS, OFFERED, draw_rows
from tests.docs.shell import CommandError, run_lines, small

HELP = f"""
Every fenced block of a page is run by the tests, in the page's order, in a folder of the page.
- The folder always has {ALWAYS}.
- <!-- needs: NAME, NAME --> anywhere in the page puts more into it: {", ".join(OFFERED)}.
- ```yaml title="run.yaml", ```csv title="shoes/table.csv", ```python title="mine.py" write the file of that name.
- Commands are made small, names of pretrained weights replaced: see SMALL and STAND_INS in tests/docs/shell.py.
- ```text title="output" after a block: lines that it prints; title="error": the same, and its exit code is 2.
- A block that cannot run here has in the line before it <!-- not run: REASON -->; let there be few.
"""


class SnippetError(Exception):
    """A block of a page fails; the message says where, and what a page needs."""


def run_page(page: Page, folder: Path, read: Callable[[], tuple[str, str]]) -> tuple[dict[str, Any], list[str]]:
    """Run the blocks of a page in the current folder; the names that its Python has defined, and what was skipped.

    Args:
        page: The page.
        folder: A folder for programs, outside the page's.
        read: Returns what was printed on stdout and stderr since it was called before.

    Returns:
        The names, and a line for each block of Python whose packages are not installed.

    Raises:
        SnippetError: A block fails.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    skipped, printed = [], ""
    for block, following in zip(page.blocks, (*page.blocks[1:], None), strict=True):
        if block.title in ("output", "error"):
            check_output(block, printed)
            continue
        if block.title:
            Path(block.title).parent.mkdir(parents=True, exist_ok=True)
            Path(block.title).write_text(small(block.text), encoding="utf-8")
            if block.language == "csv":
                draw_rows(block)
        if block.reason is not None or (block.title and block.language == "python"):
            continue
        if block.language == "python" and (missing := missing_packages(block.text)):
            skipped.append(f"{block.place} needs {', '.join(missing)}")
            continue
        read()
        shall_fail = following is not None and following.title == "error"
        try:
            run_block(block, folder, names)
        except Exception as error:
            if not (shall_fail and isinstance(error, CommandError) and error.code == FIXABLE):
                raise SnippetError(f"{failure(error, block.place)}\n{HELP}") from error
        else:
            if shall_fail:
                raise SnippetError(f"{block.place}: does not fail, and an error stands below it\n{HELP}")
        printed = "\n".join(read())
        if page.path.name in EXPECTATIONS:
            EXPECTATIONS[page.path.name](block, names)
    return names, skipped


def run_block(block: Block, folder: Path, names: dict[str, Any]) -> None:
    """Run a block of shell or Python."""
    if block.language == "sh":
        run_lines(block.place, block.text, folder)
    elif block.language == "python":
        exec(compile(small(block.code), block.place.rpartition(":")[0], "exec"), names)


def check_output(block: Block, printed: str) -> None:
    """Compare the lines of a block with what the block before it has printed.

    Raises:
        SnippetError: A line was not printed.
    """
    lines = [line.rstrip() for line in printed.splitlines()]
    for number, line in enumerate(block.text.splitlines(), int(block.place.rpartition(":")[2]) + 1):
        if line.rstrip() not in lines:
            where = f"{block.place.rpartition(':')[0]}:{number}"
            raise SnippetError(f"{where}: the block before does not print this line. It prints\n\n{printed}\n{HELP}")


def failure(error: Exception, place: str) -> str:
    """Return what went wrong in a block, and where."""
    if isinstance(error, CommandError):
        return str(error)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith(".md")]
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else place
    return f"{place}: {type(error).__name__}: {error}"


def missing_packages(code: str) -> list[str]:
    """Return the packages that Python code imports and that are not installed."""
    modules = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module.partition(".")[0])
    return sorted(module for module in modules if find_spec(module) is None)
