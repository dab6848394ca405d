"""MLflow."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from eml.trackers.base import Tracker, TrackerLog, Values


class MLflow(Tracker):
    """A run of MLflow, on a server or in a database file of the run folder."""

    type: Literal["mlflow"] = "mlflow"
    package: ClassVar[str] = "mlflow"
    uri: str | None = Field(None, description="URI of the tracking server; null: the file RUN/mlflow.db")
    experiment: str = Field("eml", description="name of the experiment")

    def open(self, run: Path, config: Mapping[str, Any], *, resumed: bool) -> TrackerLog:
        """Keep the run's id in RUN/mlflow.id, so that a resumed run continues the same one."""
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=self.uri or f"sqlite:///{(run / 'mlflow.db').resolve()}")
        id_file = run / "mlflow.id"
        if resumed and id_file.is_file():
            return _MLflowLog(client, id_file.read_text(encoding="utf-8").strip())
        experiment = client.get_experiment_by_name(self.experiment)
        number = experiment.experiment_id if experiment else client.create_experiment(self.experiment)
        identifier = client.create_run(number, run_name=run.name).info.run_id
        id_file.write_text(identifier + "\n", encoding="utf-8")
        for key, value in _flat(config).items():
            client.log_param(identifier, key, value)
        return _MLflowLog(client, identifier)


class _MLflowLog:
    def __init__(self, client: Any, run: str) -> None:
        self._client, self._run = client, run

    def write(self, step: int, values: Values) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self._run, [Metric(name, value, now, step) for name, value in values.items()])

    def close(self) -> None:
        self._client.set_terminated(self._run)


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return a: {b: 1} as a.b: "1", each value at most as long as MLflow accepts."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = str(value)[:6000]
    return flat
