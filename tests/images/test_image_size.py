"""The size of images: one side for a square, whatever it is written as; else (height, width)."""

import json
from pathlib import Path

import pytest

from eml.config import Strict, load
from eml.errors import ConfigError
from eml.images.image_size import (
    ImageSize,
    Size,
    checked_size,
    height_width,
    mean_side,
    pixel_count,
    scaled_to,
    size_text,
    size_word,
)


class Section(Strict):
    size: ImageSize | None = None


def loaded(folder: Path, text: str) -> Size | None:
    file = folder / "section.yaml"
    file.write_text(f"size: {text}\n", encoding="utf-8")
    return load(Section, file).size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("160", 160),
        ("[256, 128]", (256, 128)),
        ("256x128", (256, 128)),
        ("256 × 128", (256, 128)),
        ("'160'", 160),
        ("[160, 160]", 160),
        ("160x160", 160),
        ("null", None),
    ],
)
def test_a_size_has_one_form_however_it_is_written(tmp_path: Path, text: str, size: Size | None) -> None:
    assert loaded(tmp_path, text) == size
    again = Section.model_validate(json.loads(Section(size=size).model_dump_json()))
    assert again == Section(size=size)


def test_what_is_written_of_a_square_is_its_side_alone() -> None:
    assert Section(size=(160, 160)).model_dump_json() == '{"size":160}'
    assert Section(size=(256, 128)).model_dump_json() == '{"size":[256,128]}'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("5", "size must be at least 8, got 5."),
        ("[5, 128]", "size must be at least 8, got [5, 128]."),
        ("[128, 5000]", "size must be at most 4096, got [128, 5000]."),
        ("5x128", "size must be at least 8, got '5x128'."),
        ("[1, 2, 3]", "size must be a whole number, a list of 2 items or null, got [1, 2, 3]."),
        ("[128]", "size must be a whole number, a list of 2 items or null, got [128]."),
        ("[.inf, 9]", "size must be a whole number, a list of 2 items or null, got [inf, 9]."),
        ("true", "size must be a whole number, a list of 2 items or null, got true."),
        ("1.5", "size must be a whole number, a list of 2 items or null, got 1.5."),
        ("big", "size must be a side, such as 160, or height and width, such as 256x128 (pixels), got 'big'"),
        ("256x", "size must be a side, such as 160, or height and width, such as 256x128 (pixels), got '256x'"),
    ],
)
def test_what_is_no_size_is_told_with_what_is(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, text)
    (line,) = error.value.problems
    assert line.partition("section.yaml:1: ")[2] == problem


def test_a_caller_gives_a_size_as_a_config_does() -> None:
    given: list[tuple[object, Size | None]] = [(160, 160), ((160, 160), 160), ([256, 128], (256, 128))]
    for size, expected in [*given, ("256x128", (256, 128)), (None, None)]:
        assert checked_size(size, "image_size") == expected
    for size in (7, (256, 5000), (1, 2, 3), "large", 1.5):
        with pytest.raises(ConfigError, match=r"`image_size` must be a side or \(height, width\).*got ") as error:
            checked_size(size, "image_size")
        assert error.value.problems[0].parameter == "image_size"


def test_sizes_as_numbers_and_words() -> None:
    assert (height_width(160), height_width((256, 128))) == ((160, 160), (256, 128))
    assert (pixel_count(160), pixel_count((256, 128))) == (25600, 32768)
    assert (mean_side(160), round(mean_side((256, 128)), 1)) == (160, 181.0)
    assert (size_text(160), size_text((256, 128))) == ("160", "256×128")
    assert (size_word(160), size_word((256, 128))) == ("160", "256x128")
    assert (scaled_to(160, 224), scaled_to((256, 128), 320), scaled_to((100, 256), 128)) == (224, (320, 160), (50, 128))
