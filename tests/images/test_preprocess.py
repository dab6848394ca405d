"""Images become those that a network sees: by torch's antialiasing nearly as by Pillow's, whatever kind they are of."""

import numpy as np
import pytest
from PIL import Image

from eml.images.preprocess import Fit, Interpolation, Preprocess, Resize, reduced

SIZES = [(90, 61), (24, 24), (17, 40), (300, 200)]
"""Larger and smaller than the side, and equal to it."""


def photo(size: tuple[int, int]) -> Image.Image:
    """Smooth, with an edge and noise. Pillow's own pixels cannot be written to."""
    width, height = size
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width] / 9
    values = (
        127 + 80 * np.sin(rows[..., None] + columns[..., None] * [0.5, 1, 2]) + random.normal(0, 12, (height, width, 3))
    )
    values[: height // 3, : width // 3] = 250
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_torch_resizes_as_pillow_does(fit: Fit, interpolation: Interpolation) -> None:
    by_torch = Preprocess(size=24, fit=fit, interpolation=interpolation)
    by_pillow = by_torch.model_copy(update={"resize": "pillow"})
    for size in SIZES:
        image = photo(size)
        # Pillow's averages at the border of a part take in what lies beyond it
        expected, pixels = by_pillow(image.crop(by_pillow.visible_box(*size))), by_torch(image)
        difference = np.abs(expected.astype(int) - pixels)
        assert difference.max() <= 2
        assert difference.mean() < 0.3  # 0.003 on photos
        np.testing.assert_array_equal(by_torch(np.asarray(image)), pixels)
        np.testing.assert_array_equal(by_pillow(np.asarray(image)), by_pillow(image))
    assert by_torch.resize == "torch"


def test_pillow_resizes_as_pillow_and_lanczos_is_pillows_alone() -> None:
    image = photo((90, 61))
    for interpolation, curve in (("bicubic", Image.Resampling.BICUBIC), ("lanczos", Image.Resampling.LANCZOS)):
        expected = np.asarray(image.resize((24, 24), curve))
        preprocess = Preprocess(size=24, interpolation=interpolation, resize="pillow")
        np.testing.assert_array_equal(preprocess(image), expected)
    np.testing.assert_array_equal(Preprocess(size=24, interpolation="lanczos")(image), expected)
    as_usual, as_before = (reduced(image, 24, "bicubic", resize) for resize in ("torch", "pillow"))
    assert as_usual.shape == as_before.shape == (24, 35, 3)
    assert np.abs(as_usual.astype(int) - as_before).max() <= 2


def test_a_training_image_is_antialiased_where_much_is_lost() -> None:
    lines = np.zeros((96, 96, 3), np.uint8)
    lines[:, ::2] = 255
    preprocess = Preprocess(size=24)
    for interpolation in ("bilinear", "bicubic", "lanczos"):
        preprocess = preprocess.model_copy(update={"interpolation": interpolation})
        assert np.ptp(preprocess.resized(lines, (8, 8, 88, 88))[4:-4, 4:-4]) < 30
    image = np.asarray(photo((90, 61)))
    whole = preprocess.model_copy(update={"interpolation": "bicubic"})
    np.testing.assert_array_equal(whole.resized(image, (0, 0, 90, 61)), whole(image))
    part = whole.resized(image, (10.4, 3.2, 33.6, 27.3))
    assert part.shape == (24, 24, 3)
    np.testing.assert_array_equal(whole.resized(image, (10, 3, 34, 27)), image[3:27, 10:34])


@pytest.mark.parametrize("resize", ["torch", "pillow"])
def test_what_is_no_square_is_height_by_width(resize: Resize) -> None:
    for fit in ("squash", "crop", "pad"):
        preprocess = Preprocess(size=(40, 20), fit=fit, resize=resize)  # type: ignore[arg-type]
        for size in SIZES:
            assert preprocess(photo(size)).shape == (40, 20, 3)
            assert preprocess.resized(np.asarray(photo(size)), (0, 0, *size)).shape == (40, 20, 3)


def test_crop_keeps_the_largest_central_part_of_the_inputs_aspect_ratio() -> None:
    tall = Preprocess(size=(40, 20), fit="crop")
    assert tall.visible_box(100, 100) == (25, 0, 75, 100)
    assert tall.visible_box(100, 300) == (0, 50, 100, 250)
    assert tall.visible_box(61, 7) == (28, 0, 32, 7)
    assert tall.visible_box(1, 1) == (0, 0, 1, 1)
    assert Preprocess(size=(20, 40), fit="crop").visible_box(100, 100) == (0, 25, 100, 75)
    picture = photo((100, 100))
    np.testing.assert_array_equal(tall(picture), Preprocess(size=(40, 20))(picture.crop((25, 0, 75, 100))))


def test_pad_keeps_all_and_the_aspect_ratio() -> None:
    white = np.full((50, 100, 3), 255, np.uint8)
    padded = Preprocess(size=(40, 20), fit="pad")(white)
    is_white = (padded == 255).all(2)
    assert is_white[15:25].all()
    assert is_white.sum() == 10 * 20
    tall = Preprocess(size=(40, 20), fit="pad")(np.full((80, 10, 3), 255, np.uint8))
    assert (tall == 255).all(2)[:, 7:12].all()
    assert (tall == 255).all(2).sum() == 40 * 5


def test_an_image_is_reduced_to_the_smallest_that_covers_the_size() -> None:
    for size, expected in (
        ((200, 100), (80, 40)),
        ((300, 100), (80, 27)),  # width × height 300 × 100 needs 80 × 27 for a height of 20 and a width of 80
        ((60, 200), (80, 267)),
    ):
        image = photo(size)
        small = reduced(image, (20, 80), "bicubic")
        width, height = expected if size[0] >= 80 else size
        assert small.shape == (height, width, 3)
    for side in (24, 40):
        image = photo((90, 61))
        np.testing.assert_array_equal(reduced(image, (side, side), "bicubic"), reduced(image, side, "bicubic"))
