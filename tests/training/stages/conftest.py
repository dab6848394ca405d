"""A tiny data set with whole classes held out."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eml.dataset.table import Table, write_table
from eml.training.config import RunConfig
from tests.training.runs import draw


@pytest.fixture(scope="session")
def open_table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """12 classes of 4 images, a third of the classes in each of 3 folds."""
    root = tmp_path_factory.mktemp("open")
    frame = draw(root, 12, 4)
    frame["fold"] = pd.factorize(frame["label"])[0] % 3
    return write_table(frame, root / "folds.csv", command="test", root=root)


@pytest.fixture
def staged(tmp_path: Path, open_table: Table) -> RunConfig:
    """A run in stages of 2 epochs of 4 steps."""
    return RunConfig.model_validate(
        {
            "output": tmp_path / "run",
            "recipe": "none",
            "stages": "auto",
            "data": {"table": open_table.path, "workers": 0},
            "image": {"size": 32},
            "model": {"backbone": "test_resnet", "weights": "none", "neck": {"type": "bnneck"}},
            "head": {"scale": 16},
            "epochs": 2,
            "batch_size": 8,
        }
    )


def values(labels: np.ndarray, mean: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(len(labels)) * 0.2 + mean - 0.1
