"""Training with processes that load images, and with several that train: any one of them is killed, again and again."""

from pathlib import Path

import pytest

from tests.benchmarks import kill_train
from tests.training.runs import draw

pytestmark = pytest.mark.wide


@pytest.mark.parametrize("devices, victim", [(1, "command"), (1, "one"), (2, "one")])
def test_a_run_of_which_any_process_is_killed_ends_and_a_resumed_one_has_the_same_bytes(
    devices: int, victim: str, tmp_path: Path
) -> None:
    draw(tmp_path / "images", 12, 30, 64)
    options = ["--images", str(tmp_path / "images"), "--kills", "5", "--workers", "2"]
    assert kill_train.main([*options, "--devices", str(devices), "--victim", victim]) == 0
