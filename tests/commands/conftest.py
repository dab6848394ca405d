"""A small dataset that every step went through, and a run on it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import eml
from eml.cli.app import main

SMALL = ("image.size=32", "batch_size=8", "epochs=1")


def draw(root: Path, classes: int = 8, per_class: int = 4) -> Path:
    """Draw images of blurred noise, each class with a colour of its own."""
    random = np.random.default_rng(0)
    for label in range(classes):
        (root / f"class {label}").mkdir(parents=True)
        colour = random.integers(0, 256, 3)
        for number in range(per_class):
            pixels = (colour + random.normal(0, 60, (6, 6, 3))).clip(0, 255).astype(np.uint8)
            image = Image.fromarray(pixels).resize((44, 40), Image.Resampling.BICUBIC)
            image.save(root / f"class {label}" / f"{number}.jpg")
    return root


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on which every step ran: not to be changed."""
    photos = draw(tmp_path_factory.mktemp("pipeline") / "photos")
    eml.scan(photos)
    eml.split(photos, by="ratio", test_ratio=0.4)
    eml.kfold(photos, k=2)
    eml.init(photos, backbone="test_resnet", weights="none")
    eml.train(photos / "config.yaml", overrides=SMALL)
    return photos


@pytest.fixture
def photos(pipeline: Path, tmp_path: Path) -> Path:
    """A copy of the folder without the run."""
    return Path(shutil.copytree(pipeline, tmp_path / "photos", ignore=shutil.ignore_patterns("run")))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder that nothing ran on."""
    return draw(tmp_path / "images", classes=4, per_class=6)


@pytest.fixture
def printed_json(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Return a function that runs a command with --json and returns what it prints."""

    def run(*words: object) -> dict[str, Any]:
        capsys.readouterr()
        assert main([*map(str, words), "--json"]) == 0
        return dict(json.loads(capsys.readouterr().out))

    return run
