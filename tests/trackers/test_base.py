"""A tracker that fails never stops a run; one whose package is missing is an error before it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from eml.errors import ConfigError
from eml.trackers import TrackerLog
from eml.trackers.mlflow import MLflow
from eml.trackers.tensorboard import TensorBoard
from eml.trackers.wandb import WandB
from tests.trackers.writing import write


@dataclass
class Failing:
    """Stands in for a tracker without entering the family, which would have it for the rest of the session."""

    after: int = 0
    type: str = "failing"

    def open(self, run: Path, config: Mapping[str, Any], *, resumed: bool) -> TrackerLog:
        json.dumps(config)
        if self.after == 0:
            raise OSError("no route to host")
        return FailingLog(self.after)


class FailingLog:
    def __init__(self, left: int) -> None:
        self.left = left

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self.left -= 1
        if self.left == 0:
            raise RuntimeError("disk full\nand more")

    def close(self) -> None:
        raise AssertionError("is not asked again")


@pytest.mark.parametrize(("after", "why"), [(0, "no route to host"), (2, "disk full")])
def test_a_failing_tracker_is_reported_once_and_not_used_again(after: int, why: str, tmp_path: Path) -> None:
    assert write(Failing(after=after), tmp_path) == [f"warning: tracker failing failed and is not used again: {why}"]


def test_a_missing_package_is_an_error_before_the_run_that_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TensorBoard, "package", "a_package_that_is_not_there")
    with pytest.raises(
        ConfigError, match=r"tracker 'tensorboard' needs the a_package.*easy-metric-learning\[tensorboard"
    ):
        TensorBoard().check()
    for member in (WandB, MLflow):
        assert member.package
