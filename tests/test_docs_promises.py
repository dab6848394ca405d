"""docs/promises.md names, for each promise, tests that exist."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "promises.md").read_text(encoding="utf-8")
REFERENCE = re.compile(r"`tests/([\w/]+\.py)(?:::(\w+))?`")


def test_every_promise_names_a_test_and_every_named_test_exists() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| Promise", "| ---"))]
    assert len(rows) > 20
    for row in rows:
        references = REFERENCE.findall(row)
        assert references, f"no test holds this promise: {row}"
        for file, name in references:
            path = TESTS / file
            assert path.is_file(), f"{row}\nnames {path}, which does not exist"
            if name:
                assert f"def {name}(" in path.read_text(encoding="utf-8"), f"{row}\nnames {name}, not in {file}"
