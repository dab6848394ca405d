"""Resizing in NumPy gives torch's pixels to the bit, so that a model answers the same where torch is not installed."""

import numpy as np
import pytest
import torch

from eml.images.resize import Curve, resize

RANDOM = np.random.default_rng(0)


def by_torch(pixels: np.ndarray, size: tuple[int, int], curve: Curve) -> np.ndarray:
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(tensor, size[::-1], mode=curve, antialias=True)
    return resized[0].permute(1, 2, 0).numpy()


def sizes() -> list[tuple[int, int, int, int]]:
    """(height, width, new height, new width): random ones, a side that stays, thin images, and large reductions."""
    drawn = [tuple(RANDOM.integers(1, 90, 4).tolist()) for _ in range(40)]
    thin = [(1, 60, 24, 24), (70, 2, 24, 31), (1, 1, 5, 7), (33, 40, 1, 1), (3, 9000, 5, 7), (4000, 3, 9, 224)]
    return [*drawn, (48, 48, 24, 48), (48, 48, 48, 31), (224, 224, 224, 224), (300, 401, 224, 224), *thin]


@pytest.mark.parametrize("curve", ["bilinear", "bicubic"])
@pytest.mark.parametrize("contrast", [False, True], ids=["noise", "black and white"])
def test_the_pixels_are_torchs_to_the_bit(curve: Curve, contrast: bool) -> None:
    for height, width, new_height, new_width in sizes():
        pixels = RANDOM.integers(0, 256, (height, width, 3), np.uint8)
        pixels = np.where(pixels > 127, 255, 0).astype(np.uint8) if contrast else pixels
        expected = by_torch(pixels, (new_width, new_height), curve)
        np.testing.assert_array_equal(resize(pixels, (new_width, new_height), curve), expected)


def test_a_part_of_an_image_that_is_read_only_is_resized() -> None:
    pixels = RANDOM.integers(0, 256, (50, 60, 3), np.uint8)
    pixels.flags.writeable = False
    part = pixels[5:41, 7:52]
    np.testing.assert_array_equal(resize(part, (20, 16), "bicubic"), by_torch(part.copy(), (20, 16), "bicubic"))


def test_an_image_of_several_parts_in_memory_is_resized_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = RANDOM.integers(0, 256, (70, 90, 3), np.uint8)
    monkeypatch.setattr("eml.images.resize._PART", 2_000)
    np.testing.assert_array_equal(resize(pixels, (40, 50), "bicubic"), by_torch(pixels, (40, 50), "bicubic"))
