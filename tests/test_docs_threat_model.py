"""docs/threat_model.md names, for each line that is held, tests that exist."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "threat_model.md").read_text(encoding="utf-8")
REFERENCE = re.compile(r"`tests/([\w/]+\.py)::(\w+)`")


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| What ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_line_names_a_mechanism_and_tests_that_exist() -> None:
    assert len(rows()) > 40
    for row in rows():
        assert len(row) == 3, row
        references = REFERENCE.findall(row[2])
        assert references, f"no test holds this line: {row[0]}"
        assert ", ".join(f"`tests/{file}::{name}`" for file, name in references) == row[2]
        for file, name in references:
            path = TESTS / file
            assert path.is_file(), f"{row[0]}: names {path}, which does not exist"
            assert re.search(rf"^(async )?def {name}\(", path.read_text(encoding="utf-8"), re.MULTILINE), (row[0], name)


def test_the_page_speaks_of_each_source_and_says_what_does_not_hold() -> None:
    headings = set(re.findall(r"^## (.+)$", PAGE, re.MULTILINE))
    assert {"Images", "Indexes", "Clients of a server", "What does not hold"} <= headings
    assert PAGE.partition("## What does not hold")[2].count("\n- **") > 8
