"""Thumbnails in a terminal: a strip of the query and its neighbours, and nothing where images cannot be shown."""

from pathlib import Path
from typing import Any

import pytest

from eml.cli.display import console, terminal_images
from eml.cli.display.terminal_images import GAP, SIDE, draw_strip, image_rows, terminal_renderer
from eml.indexing.answers import ImagePlace
from tests.indexing.shop import draw


@pytest.fixture
def places(tmp_path: Path) -> list[ImagePlace]:
    photos = draw(tmp_path, ("mug", "tea"), per_class=1)
    return [ImagePlace(photos / "mug" / "0.png"), ImagePlace(photos / "tea" / "0.png"), ImagePlace(photos / "gone.png")]


def test_the_strip_shows_each_image_in_its_cell(places: list[ImagePlace]) -> None:
    strip = draw_strip(places)
    assert strip.size == (3 * (SIDE + GAP) + 2 * GAP, SIDE)
    lefts = (0, SIDE + 4 * GAP, 2 * (SIDE + GAP) + 3 * GAP)
    red, green, grey, between = (
        strip.getpixel((left, SIDE // 2)) for left in (*(left + SIDE // 2 for left in lefts), SIDE + GAP)
    )
    assert red[0] > 180 > 100 > red[1]  # type: ignore[index]
    assert green[1] > 150 > 100 > green[0]  # type: ignore[index]
    assert grey == (128, 128, 128, 255)
    assert between == (0, 0, 0, 0)


def test_nothing_is_shown_where_stdout_is_no_terminal(
    places: list[ImagePlace], capsys: pytest.CaptureFixture[str]
) -> None:
    terminal_renderer.cache_clear()
    image_rows(places)
    assert capsys.readouterr().out == ""


def test_as_many_are_shown_as_fit_and_none_beside_json(
    places: list[ImagePlace], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = []

    def renderer(image: Any, width: int) -> str:
        shown.append((image.width, width))
        return "an image"

    monkeypatch.setattr(terminal_images, "terminal_renderer", lambda: renderer)
    monkeypatch.setattr(terminal_images, "CELL", console.UNLIMITED // 2)
    image_rows(places)
    assert shown == [(2 * (SIDE + GAP) + 2 * GAP, console.UNLIMITED)]
    with console.results_hidden():
        image_rows(places)
    assert len(shown) == 1
    assert capsys.readouterr().out == "an image\n"
