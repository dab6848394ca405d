"""A tiny data set: classes are colours, images of a class differ by noise."""

from pathlib import Path

import pytest

from eml.dataset.table import Table, write_table
from eml.training.config import RunConfig
from tests.training.runs import draw


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """5 classes of 6 images, 3 folds by images."""
    root = tmp_path_factory.mktemp("colours")
    return write_table(draw(root, 5, 6), root / "folds.csv", command="test", root=root)


@pytest.fixture
def config(tmp_path: Path, table: Table) -> RunConfig:
    """A run of a second: 2 epochs of 5 steps."""
    return RunConfig.model_validate(
        {
            "output": tmp_path / "run",
            "recipe": "none",
            "data": {"table": table.path, "workers": 0},
            "image": {"size": 32},
            "model": {"backbone": "test_resnet", "weights": "none", "neck": {"type": "linear", "size": 16}},
            "head": {"scale": 16},
            "epochs": 2,
            "batch_size": 4,
        }
    )
