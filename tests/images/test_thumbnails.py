from base64 import b64decode
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from eml.images.thumbnails import SIDE, thumbnails


def draw(path: Path, seed: int, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(path)


def test_the_thumbnails_are_the_decoded_images(tmp_path: Path) -> None:
    draw(tmp_path / "class 0" / "0.png", 1, (80, 64))
    draw(tmp_path / "class 0" / "large.png", 5, (800, 500))
    images = thumbnails(tmp_path, ["class 0/large.png", "class 0/0.png", "gone.png"])
    assert [(image.width, image.height) for image in images.values()] == [(80, 64), (160, 100), (SIDE, SIDE)]
    assert images["gone.png"].problem == "missing"
    data = BytesIO(b64decode(images["class 0/0.png"].source.partition(",")[2]))
    with Image.open(data) as small, Image.open(tmp_path / "class 0" / "0.png") as whole:
        assert np.abs(np.asarray(small, float) - np.asarray(whole, float)).mean() < 8
