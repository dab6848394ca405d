"""A small CLIP, and its export: one for all tests of this folder, which are of the xdist group "clip"."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import eml
from eml.exporting.export import ExportOptions, export_model
from eml.inference.model import Model
from tests.tiny_clip import NATIVE, write_tiny_clip

LABELS = ["Café “Süd”", "red mug", "猫"]


@pytest.fixture(scope="session")
def small_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of open_clip with towers of one layer."""
    vision = {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16}
    text = NATIVE["text_cfg"] | {"width": 8, "heads": 1, "layers": 1}
    folder = tmp_path_factory.mktemp("small_clip") / "small"
    return write_tiny_clip(folder, config=NATIVE | {"vision_cfg": vision, "text_cfg": text})


@pytest.fixture(scope="session")
def model(small_clip: Path) -> Model:
    """The small CLIP."""
    return eml.load(f"open_clip:local-dir:{small_clip}")


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six classes of three images."""
    folder, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for label in range(6):
        base = random.integers(40, 215, (32, 32, 3))
        (folder / f"c{label}").mkdir()
        for number in range(3):
            pixels = np.clip(base + random.integers(-30, 30, base.shape), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"c{label}" / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def exported(small_clip: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file with the image tower of an export, with the text tower beside it."""
    out = tmp_path_factory.mktemp("exported") / "model.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eml.exporting.texts.tower.labels_of", lambda model: LABELS)
        export_model(ExportOptions(f"open_clip:local-dir:{small_clip}", out, prove_on=photos, timing_seconds=0))
    return out
