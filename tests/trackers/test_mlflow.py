from pathlib import Path

import pytest

from eml.trackers.mlflow import MLflow
from tests.trackers.writing import write


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
