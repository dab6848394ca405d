"""Real images, from archives in the folder that EML_TEST_DATA names, or in ../shared/data."""

import os
import tarfile
from pathlib import Path

import pytest


def unpacked(name: str, folder: Path) -> Path:
    """Unpack NAME.tar into an empty folder and return the folder in it, or skip the test if there is none."""
    data = os.environ.get("EML_TEST_DATA") or Path(__file__).parents[2].with_name("shared") / "data"
    archive = Path(data) / f"{name}.tar"
    if not archive.is_file():
        pytest.skip(f"{archive} is not there; EML_TEST_DATA can name its folder")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    (inside,) = folder.iterdir()
    return inside
