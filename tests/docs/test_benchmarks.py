"""docs/benchmarks.md is a summary: its figures are those of the pages that it links, whose scripts exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SUMMARY = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
PAGES = sorted(DOCS.glob("benchmarks_*.md"))
FIGURE = re.compile(r"(?<!\d)\.\d{2,}|\d+\.\d{2,}")
"""Numbers with at least two decimals: others are too short to be looked for."""


def figures(text: str) -> set[str]:
    """Return the numbers of a text without the zero before the point."""
    return {number.removeprefix("0") for number in re.findall(r"\d*\.\d+", text)}


def test_every_part_of_the_summary_has_only_figures_of_the_pages_that_it_links() -> None:
    for part in re.split(r"^## ", SUMMARY, flags=re.MULTILINE)[1:-1]:
        linked = set(re.findall(r"\((benchmarks_\w+\.md)", part))
        known = set[str]().union(*(figures((DOCS / name).read_text(encoding="utf-8")) for name in linked))
        stated = {number.removeprefix("0") for number in FIGURE.findall(part)}
        assert stated, part
        assert stated <= known, f"{part.partition(chr(10))[0]}: not on {sorted(linked)}"


def test_every_row_of_a_summary_table_says_how_it_was_measured() -> None:
    text = SUMMARY.partition("## Methods")[0]
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        before = text[: text.index(table)].rstrip().rpartition("\n\n")[2]
        for row in table.splitlines()[2:]:
            assert "](benchmarks_" in row or "[how](benchmarks_" in before, row


def test_the_summary_links_every_page_and_is_two_screens() -> None:
    assert {path.name for path in PAGES} <= set(
        re.findall(r"\((benchmarks_\w+\.md)", SUMMARY.partition("## Methods")[2])
    )
    assert len(SUMMARY.splitlines()) <= 110


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_script_of_a_page_exists(page: Path) -> None:
    for name in set(re.findall(r"tests/benchmarks/\w+\.py", page.read_text(encoding="utf-8"))):
        assert (ROOT / name).is_file(), f"{page.name} names {name}"
