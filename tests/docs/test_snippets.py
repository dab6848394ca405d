"""Every fenced block of docs/*.md and of README.md is right as far as that can be told without running it."""

from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, read_page
from tests.docs.checks import problems
from tests.docs.prepared import Workshop
from tests.docs.running import HELP, SnippetError, run_page

pytestmark = pytest.mark.usefixtures("plugins_forgotten")

RUN_ELSEWHERE = {"vector_databases.md": "test_vector_databases.py", "README.md": "../test_readme_and_configs.py"}
"""Page → the tests that run its blocks."""


@pytest.mark.parametrize("name", PAGES)
def test_the_blocks_of_a_page_are_right(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = list(problems(read_page(name), tmp_path))
    if lines:
        pytest.fail("\n".join([*lines, HELP]), pytrace=False)


def test_few_blocks_are_not_run() -> None:
    marked = [block for name in PAGES for block in read_page(name).blocks if block.reason is not None]
    assert len(marked) <= 66, "\n".join(f"{block.place}: {block.reason}" for block in marked)


@pytest.mark.wide
@pytest.mark.parametrize("name", [name for name in PAGES if read_page(name).blocks and name not in RUN_ELSEWHERE])
def test_the_blocks_of_a_page_run(
    name: str,
    workshop: Workshop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("WARNING")  # torch.export logs much
    folder = tmp_path / "page"
    workshop.prepare(read_page(name), folder)
    monkeypatch.chdir(folder)
    problem, skipped = "", []
    try:
        _, skipped = run_page(read_page(name), tmp_path, capfd.readouterr)
    except SnippetError as error:
        problem = str(error)
    if problem:
        pytest.fail(problem, pytrace=False)
    if skipped:
        pytest.skip("; ".join(skipped))
