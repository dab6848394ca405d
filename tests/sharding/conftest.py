"""A small folder of images whose files look old, so that their times prove them unchanged."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

LONG_AGO = 1_600_000_000  # seconds


def draw_old(root: Path, classes: int = 5, per_class: int = 6) -> Path:
    """Draw images of noise, and one file that is none."""
    random = np.random.default_rng(0)
    for label in range(classes):
        folder = root / f"class {label}"
        folder.mkdir(parents=True)
        for number in range(per_class):
            pixels = random.integers(0, 256, (12, 10, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    (root / "class 0" / "broken.png").write_bytes(b"no image")
    for path in root.rglob("*.png"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    return root


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder that nothing ran on."""
    return draw_old(tmp_path / "photos")
