"""Validation on several tables."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from eml.dataset.table import Table, write_table
from eml.errors import ConfigError, Interrupted
from eml.models.pointers import find_checkpoint
from eml.reports.run_logs import find_best
from eml.training.build import build_parts
from eml.training.config import RunConfig
from eml.training.events import Event, Note, Validated, Validating
from eml.training.fit import Run, fit
from tests.training.runs import by, by_class, changed, left_by, lines, stop_at

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


def test_a_part_is_measured_after_each_epoch_and_the_verdict_is_of_all_images(
    config: RunConfig, table: Table, tmp_path: Path
) -> None:
    table = by_class(table, tmp_path)
    events: list[Event] = []
    short = changed(by(config, table, images=9), epochs=3)
    result = fit(short, table, observe=events.append)
    assert "validation during training: 9 of 18 images; before training and of the best epoch: all of them" in [
        event.text for event in events if isinstance(event, Note)
    ]
    assert [event.total for event in events if isinstance(event, Validating)] == [18, 9, 9, 9, 18]
    assert [line["queries"] for line in lines(short.output, "metrics")] == [9] * 4
    whole = fit(changed(short, output=tmp_path / "whole", validation={"images": None}), table)
    assert result.verdict is not None
    assert whole.verdict is not None
    assert result.verdict.before == whole.verdict.before == (result.before or {})["map_at_r"]
    assert left_by(short.output)["steps.jsonl"] == left_by(whole.folder)["steps.jsonl"]
    of_best = next(line for line in lines(whole.folder, "metrics") if line["epoch"] == result.best_epoch)
    assert result.verdict.after == pytest.approx(of_best["map_at_r"])
    assert result.best is not None
    assert result.best["recall_at_1"] == of_best["recall_at_1"]
    assert find_best(short.output, "map_at_r")[:2] == (result.verdict.before, pytest.approx(result.verdict.after))


@pytest.mark.wide
def test_a_run_that_is_stopped_anywhere_measures_the_same_part_and_ends_alike(
    config: RunConfig, table: Table, tmp_path: Path
) -> None:
    table = by_class(table, tmp_path)
    short = by(config, table, images=9)
    straight = fit(changed(short, output=tmp_path / "straight"), table)
    stop_at(short, table, Validating(18, 18))  # before training
    stop_at_resumed(short, table, lambda events: events.count(Validating(9, 9)) == 2)
    stop_at_resumed(short, table, lambda events: events[-1] == Validating(18, 18))  # of the best epoch
    result = fit(short, table, resume=True)
    assert result.verdict == straight.verdict
    assert left_by(short.output) == left_by(straight.folder)


def stop_at_resumed(config: RunConfig, table: Table, when: Callable[[list[Event]], bool]) -> None:
    events: list[Event] = []

    def observe(event: Event) -> None:
        events.append(event)
        if when(events):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        fit(config, table, resume=True, observe=observe)
