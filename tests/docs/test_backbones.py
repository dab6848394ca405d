"""docs/backbones.md lists the image towers that tests build, with what is known of them today."""

from pathlib import Path

import pytest
from backbones_table import BEGIN, END, page

from eml.models.catalog import TESTED, known_backbones

PAGE = (Path(__file__).parents[2] / "docs" / "backbones.md").read_text(encoding="utf-8")


def test_every_tested_image_tower_is_listed_with_the_licence_of_its_weights() -> None:
    section = PAGE.partition(BEGIN)[2].partition(END)[0]
    for kind, names in TESTED.items():
        for own in known_backbones(names):
            assert f"| {kind} | `{own.name}` |" in section, "run: make docs"
            line = next(line for line in section.splitlines() if f"`{own.name}`" in line)
            assert line.endswith(f"| {own.licence} |")


@pytest.mark.wide
def test_the_table_is_what_the_networks_say_today() -> None:
    assert page(PAGE) == PAGE, "run: make docs"
