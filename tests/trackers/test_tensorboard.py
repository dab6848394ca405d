from pathlib import Path

import pytest

from eml.trackers.tensorboard import TensorBoard
from tests.trackers.writing import write


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_reads_back_what_was_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    assert write(TensorBoard(), tmp_path) == []
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert [(each.step, each.value) for each in found.Scalars("training/loss")] == [(1, 2.5), (2, 1.5)]
    assert [(each.step, each.value) for each in found.Scalars("validation/map_at_r")] == [(2, 0.25)]
