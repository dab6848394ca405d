"""Images that take long enough to read for a process to be stopped meanwhile, and what a scan of them writes."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import eml
from tests.sharding.conftest import LONG_AGO


def draw_many(root: Path, count: int, side: int) -> Path:
    """Draw images of noise in two classes."""
    random = np.random.default_rng(1)
    for number in range(count):
        path = root / f"class {number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (side, side, 3), np.uint8)).save(path, compress_level=0)
        os.utime(path, (LONG_AGO, LONG_AGO))
    return root


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose scan takes a second of one core or two."""
    return draw_many(tmp_path_factory.mktemp("many") / "photos", 240, 420)


@pytest.fixture(scope="module")
def whole(many: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table of a scan without shards."""
    return Path(eml.scan(many, out=tmp_path_factory.mktemp("whole") / "t.csv", workers=1).table.path or "")


def assert_same(whole: Path, table: Path) -> None:
    """Assert that a scan left the same bytes, and no shards."""
    for first, second in (
        (whole, table),
        (whole.with_name(f"{whole.stem}_errors.csv"), table.with_name(f"{table.stem}_errors.csv")),
        (whole.with_name(f".{whole.name}.eml-scan"), table.with_name(f".{table.name}.eml-scan")),
    ):
        assert first.read_bytes() == second.read_bytes(), second
    assert not list(table.parent.glob(".*.eml-shards"))
