"""The pages of the nav's section Explanation: each begins with the question that it answers."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_every_explanation_begins_with_the_question_that_it_answers() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    (explanations,) = [section["Explanation"] for section in nav if "Explanation" in section]
    pages = [page for entry in explanations for page in entry.values()]
    assert len(pages) >= 6
    for page in pages:
        paragraphs = (ROOT / "docs" / page).read_text(encoding="utf-8").split("\n\n")[1:]
        first = next(paragraph for paragraph in paragraphs if not paragraph.startswith("<!--"))
        assert "?" in first, f"{page} begins with: {first}"
