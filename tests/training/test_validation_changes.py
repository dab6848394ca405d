"""A resumed run compares only figures of the same images."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from eml.dataset.table import Table, write_table
from eml.evaluation.retrieval_set import build_retrieval_set
from eml.models.checkpoint import read_trained_on
from eml.reports.curves import draw_curves
from eml.reports.run_logs import find_best, find_questions
from eml.training.config import RunConfig
from eml.training.events import Event, Note
from eml.training.fit import fit
from eml.training.results import TrainingResult
from eml.training.validation_changes import set_digest
from tests.training.runs import changed, left_by, stop_at

pytestmark = pytest.mark.slow

AFTER_AN_EPOCH = 7


def resumed(config: RunConfig, table: Table) -> tuple[TrainingResult, list[str]]:
    """Resume with the changes of a config; return the result and the lines that tell of them."""
    events: list[Event] = []
    result = fit(config, table, resume=True, accept_changes=True, observe=events.append)
    return result, [event.text for event in events if isinstance(event, Note) and "not compared" in event.text]


def with_fold(config: RunConfig, fold: int) -> RunConfig:
    return changed(config, data=config.data.model_dump() | {"fold": fold})


def facts(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "run.json").read_text()))


def of_classes(table: Table, tmp_path: Path, held_out: str) -> Table:
    """Folds by class: one letter for each class, the digit of its fold."""
    folds = table.frame["label"].map(lambda label: int(held_out[int(label[1])]))
    return write_table(table.frame.assign(fold=folds), tmp_path / "t.csv", command="test", root=table.root)


@pytest.mark.wide
@pytest.mark.parametrize("sizes", ["equal", pytest.param("different", marks=pytest.mark.wide)])
def test_another_fold_is_not_compared_with_the_one_before(
    sizes: str, config: RunConfig, table: Table, tmp_path: Path
) -> None:
    if sizes == "different":
        frame = table.frame.copy()
        frame.loc[frame["fold"].eq(1).idxmax(), "fold"] = 2
        table = write_table(frame, tmp_path / "t.csv", command="test", root=table.root)
    config = changed(config, epochs=3, data=config.data.model_dump() | {"table": table.path})
    stop_at(config, table, AFTER_AN_EPOCH)
    before = facts(config.output)
    result, told = resumed(with_fold(config, 1), table)
    assert told == [
        "validation on the held-out fold: the set changed at epoch 2; figures before it are of other images and are "
        "not compared"
    ]
    assert result.verdict is None
    assert result.best_epoch in (2, 3)
    assert result.before is not None
    assert "map_at_r" not in result.before
    now = facts(config.output)
    assert now["validation_question"] != before["validation_question"]
    assert now["validations"][""]["since_epoch"] == 2
    assert find_questions(config.output) == {"": now["validation_question"]}
    assert find_best(config.output, "map_at_r")[::2] == (None, result.best_epoch)
    draw_curves(config.output)
    again = fit(with_fold(config, 1), table, resume=True)
    assert again.verdict is None
    assert facts(config.output) == now


def test_the_classes_of_the_fold_before_stay_in_the_record(config: RunConfig, table: Table, tmp_path: Path) -> None:
    table = of_classes(table, tmp_path, "00112")
    config = changed(config, data=config.data.model_dump() | {"table": table.path})
    stop_at(config, table, 3)
    fit(with_fold(config, 1), table, resume=True, accept_changes=True)
    assert read_trained_on(config.output).classes == {f"c{label}" for label in range(5)}
    assert len(read_trained_on(config.output).keys) == 30
    assert facts(config.output)["validation_question"] == "images that were trained on (12 of 12)"


def others(table: Table, file: Path, last: int) -> Path:
    rows = table.frame.drop(columns="fold").groupby("label").tail(last)
    path = write_table(rows, file, command="test", root=table.root).path
    assert path is not None
    return path


def test_a_table_that_is_added_is_measured_from_then_on_and_may_choose_the_best(
    config: RunConfig, table: Table, tmp_path: Path
) -> None:
    config = changed(config, epochs=3)
    stop_at(config, table, AFTER_AN_EPOCH)
    validation = {"tables": {"w": others(table, tmp_path / "w.csv", 3)}, "metric": "w/map_at_r"}
    result, told = resumed(changed(config, validation=validation), table)
    assert [line.partition(":")[0] for line in told] == ["validation on w"]
    assert result.verdicts.keys() == {""}, "of the held-out fold all figures are of the same images"
    assert result.best_epoch in (2, 3)
    assert find_best(config.output, "w/map_at_r").before is None
    assert facts(config.output)["validations"].keys() == {"", "w"}


@pytest.mark.wide
def test_a_table_that_is_changed_lets_the_epochs_before_not_compete(
    config: RunConfig, table: Table, tmp_path: Path
) -> None:
    validation = {"tables": {"w": others(table, tmp_path / "w.csv", 3)}, "metric": "w/map_at_r"}
    config = changed(config, epochs=3, validation=validation)
    stop_at(config, table, AFTER_AN_EPOCH)
    state = torch.load(config.output / "state.pt", weights_only=True)
    for line in state["training"]["validations"]:
        line["w/map_at_r"] = 2.0  # of images that are easy
    del state["validation_sets"]  # as an earlier eml saved it
    torch.save(state, config.output / "state.pt")
    others(table, tmp_path / "w.csv", 2)
    result, told = resumed(config, table)
    assert [line.partition(":")[0] for line in told] == ["validation on w"]
    assert result.best_epoch in (2, 3)
    assert result.verdict is None
    assert result.verdicts.keys() == {""}
    assert (config.output / "checkpoints" / "best").read_text().strip() == f"epoch-{result.best_epoch:03d}"


def test_another_metric_begins_the_choice_of_the_best_anew(config: RunConfig, table: Table) -> None:
    config = changed(config, epochs=3)
    stop_at(config, table, AFTER_AN_EPOCH)
    result = fit(changed(config, validation={"metric": "recall_at_1"}), table, resume=True, accept_changes=True)
    assert result.verdict is None, "the values per query before training are of another metric"
    assert result.best_epoch in (2, 3)


def test_a_resumed_run_with_the_same_sets_leaves_the_same_and_tells_nothing(
    config: RunConfig, table: Table, tmp_path: Path
) -> None:
    validation = {"tables": {"w": others(table, tmp_path / "w.csv", 3)}}
    whole = changed(config, validation=validation)
    expected = fit(whole, table)
    for name in ("new", "old"):
        other = changed(whole, output=tmp_path / name)
        stop_at(other, table, AFTER_AN_EPOCH)
        before = facts(other.output)
        if name == "old":
            state = torch.load(other.output / "state.pt", weights_only=True)
            del state["validation_sets"], state["training"]["since"], state["training"]["competing_since"]
            torch.save(state, other.output / "state.pt")
        result, told = resumed(other, table)
        assert not told
        assert left_by(other.output) == left_by(whole.output)
        assert result.verdicts == expected.verdicts
        after = facts(other.output)
        assert after.pop("finished") == facts(whole.output)["finished"]
        assert after == before


def test_the_digest_of_a_set_is_of_its_images_their_classes_and_boxes() -> None:
    frame = pd.DataFrame({"label": list("aabb"), "file_name": list("1234"), "note": list("wxyz")})
    digest = set_digest(build_retrieval_set(frame, "t"))
    assert set_digest(build_retrieval_set(frame.drop(columns="note"), "t")) == digest
    others = [frame.replace("4", "5"), frame.assign(label=list("abab")), frame.assign(x_1=1, y_1=1, x_2=2, y_2=2)]
    parted = frame.assign(is_query=[True, False] * 2, is_gallery=[False, True] * 2)
    assert digest not in {set_digest(build_retrieval_set(other, "t")) for other in (*others, parted)}
