from pathlib import Path

import pytest

from eml.trackers.wandb import WandB
from tests.trackers.writing import write


@pytest.mark.wide
@pytest.mark.filterwarnings("ignore")
def test_wandb_writes_its_files_offline(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    assert write(WandB(mode="offline"), tmp_path) == []
    (made,) = (tmp_path / "wandb").glob("offline-run-*")
    assert list(made.glob("*.wandb"))
