"""Each tracker written to offline and read back; one that fails never stops a run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from eml.errors import ConfigError
from eml.trackers import TrackerLog
from eml.trackers.base import Tracking
from eml.trackers.mlflow import MLflow
from eml.trackers.tensorboard import TensorBoard
from eml.trackers.wandb import WandB

CONFIG = {"epochs": 2, "margin": {"type": "arcface", "m": 0.5}}
STEPS: list[tuple[int, dict[str, float]]] = [
    (1, {"training/loss": 2.5}),
    (2, {"training/loss": 1.5}),
    (2, {"validation/map_at_r": 0.25}),
]


def write(tracker: Any, run: Path, *, resumed: bool = False) -> list[str]:
    told: list[str] = []
    tracking = Tracking(told.append)
    tracking.open([tracker], run, CONFIG, resumed=resumed)
    for step, values in STEPS:
        tracking.write(step, values)
    tracking.close()
    return told


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_reads_back_what_was_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    assert write(TensorBoard(), tmp_path) == []
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert [(each.step, each.value) for each in found.Scalars("training/loss")] == [(1, 2.5), (2, 1.5)]
    assert [(each.step, each.value) for each in found.Scalars("validation/map_at_r")] == [(2, 0.25)]


@pytest.mark.wide  # its database takes ten seconds to set up
@pytest.mark.filterwarnings("ignore")
def test_mlflow_keeps_steps_and_config_and_goes_on_in_the_same_run(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    assert write(MLflow(), tmp_path) == []
    assert write(MLflow(), tmp_path, resumed=True) == []
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("eml").experiment_id])
    assert run.data.params["margin.m"] == "0.5"
    assert run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "training/loss")
    assert sorted({(each.step, each.value) for each in history}) == [(1, 2.5), (2, 1.5)]


@pytest.mark.wide
@pytest.mark.filterwarnings("ignore")
def test_wandb_writes_its_files_offline(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    assert write(WandB(mode="offline"), tmp_path) == []
    (made,) = (tmp_path / "wandb").glob("offline-run-*")
    assert list(made.glob("*.wandb"))


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
