"""docs/margins.md: it is what the registry says today, its Python runs, its image is drawn."""

import re
from pathlib import Path

import pytest
from margins_page import draw, page

from eml.margins import Margin

DOCS = Path(__file__).parents[1] / "docs"


def test_the_page_is_what_the_registry_says_today() -> None:
    assert (DOCS / "margins.md").read_text(encoding="utf-8") == page(), "run: make docs"
    assert (DOCS / "margins.png").stat().st_size > 10_000
    for name in Margin.members():
        assert f"### {name}\n" in page()


def test_the_pages_python_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", page(), re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)
    assert names["logits"].shape == (8, 100)  # type: ignore[attr-defined]
    assert names["losses"].shape == (8,)  # type: ignore[attr-defined]
    assert names["head"].class_weights.grad is not None  # type: ignore[attr-defined]


@pytest.mark.wide
def test_the_image_is_drawn(tmp_path: Path) -> None:
    draw(tmp_path / "margins.png")
    assert (tmp_path / "margins.png").read_bytes().startswith(b"\x89PNG")
