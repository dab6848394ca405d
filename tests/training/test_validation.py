"""Validation on several tables."""

from pathlib import Path

import pytest

from eml.dataset.table import Table, write_table
from eml.errors import ConfigError
from eml.models.pointers import find_checkpoint
from eml.training.build import build_parts
from eml.training.config import RunConfig
from eml.training.events import Validated
from eml.training.fit import Run, fit
from tests.training.runs import changed

pytestmark = pytest.mark.slow


def test_the_best_checkpoints_of_any_table_are_kept(config: RunConfig, table: Table, tmp_path: Path) -> None:
    others = table.frame.drop(columns="fold").groupby("label").tail(3)
    path = write_table(others, tmp_path / "others.csv", command="test", root=table.root).path
    validation = {"tables": {"others": path}, "metric": "others/map_at_r", "keep": 3}
    events: list[Validated] = []
    several = changed(config, epochs=5, validation=validation)
    result = fit(several, table, observe=lambda event: events.append(event) if isinstance(event, Validated) else None)
    assert {"map_at_r", "others/map_at_r"} <= events[0].values.keys()
    assert events[0].shown["others/recall_at_1"] == "others R@1"
    assert result.questions[""].text == "new images of known classes"
    assert result.questions["others"].text == "images that were trained on (10 of 15)"
    assert result.verdicts.keys() == {"", "others"}
    assert result.verdict == result.verdicts["others"]
    assert result.verdicts[""].after == pytest.approx(events[result.best_epoch].values["map_at_r"])
    values = {event.epoch: event.values["others/map_at_r"] for event in events if event.epoch}
    ranked = sorted(values, key=lambda epoch: (-values[epoch], epoch))
    assert result.best_epoch == ranked[0]
    kept = {folder.name for folder in (several.output / "checkpoints").glob("epoch-*")}
    assert kept == {f"epoch-{epoch:03d}" for epoch in {*ranked[:3], 5}}
    assert find_checkpoint(several.output).name == f"epoch-{ranked[0]:03d}"
    with pytest.raises(ConfigError, match=r"known: recall_at_1.*others/recall_at_1"):
        Run(build_parts(changed(several, validation={**validation, "metric": "other/map_at_r"}), table))
    alone = changed(several, data={"table": table.path, "fold": None}, output=tmp_path / "alone", epochs=1)
    assert fit(alone, table).best is not None
