"""A run records what it is trained on: its own training images, and those of the runs that it starts from."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from eml.dataset.image_keys import image_keys
from eml.dataset.table import Table, write_table
from eml.evaluation.options import EvaluationOptions
from eml.evaluation.runs import evaluate_models
from eml.models.checkpoint import read_trained_on
from eml.training.config import RunConfig
from eml.training.events import Event, Note, Validated
from eml.training.fit import fit
from tests.training.runs import changed, draw, stop_at

pytestmark = pytest.mark.slow


def test_a_run_records_its_training_images_and_those_of_the_run_it_starts_from(
    config: RunConfig, table: Table, tmp_path: Path
) -> None:
    first = changed(config, epochs=1)
    fit(first, table)
    record = read_trained_on(first.output)
    trained = table.frame[table.frame["fold"] != 0]
    assert record.keys.tolist() == sorted(map(int, image_keys(table, trained))), "not the validation fold"
    assert record.classes == {f"c{label}" for label in range(5)}
    assert json.loads((first.output / "run.json").read_text())["trained_on"]["images"] == 20
    evaluated = evaluate_models(EvaluationOptions([str(first.output)], [table.source], device="cpu"))
    assert evaluated.facts()[0]["trained_on"] | {"unrecorded": 0} == {
        "status": "known", "classes": 5, "of_classes": 5, "images": 20, "of_images": 30, "unrecorded": 0
    }  # fmt: skip

    events: list[Event] = []
    model = first.model.model_dump() | {"weights": str(first.output)}
    data = first.data.model_dump() | {"fold": 1}
    again = changed(first, model=model, data=data, output=tmp_path / "again")
    verdict = fit(again, table, observe=events.append).verdict
    notes = [event.text for event in events if isinstance(event, Note)]
    assert f"starts from {first.output}, which was trained on 5 classes and 20 images" in notes
    question = "images that were trained on (10 of 10)"
    assert f"validation on the held-out fold: {question}" in notes
    assert {event.start for event in events if isinstance(event, Validated)} == {"from a run"}
    assert verdict is not None
    assert verdict.lines()[0].startswith(f"{question}: MAP@R")
    facts = json.loads((again.output / "run.json").read_text())
    assert (facts["starts_from"], facts["validation_question"]) == (str(first.output), question)

    root = tmp_path / "others"
    frame = draw(root, 6, 3, size=30).replace("c5", "new")
    frame["file_name"] = frame["file_name"].str.replace("new", "c5")
    others = write_table(frame[frame["label"].isin(["c0", "new"])], root / "folds.csv", command="test", root=root)
    second = changed(first, model=model, output=tmp_path / "second", data={"table": others.path, "workers": 0})
    stop_at(second, others, 1)
    shutil.move(first.output, tmp_path / "gone")
    fit(second, others, resume=True)
    joined = read_trained_on(second.output)
    own = image_keys(others, others.frame[others.frame["fold"] != 0])
    assert joined.keys.tolist() == sorted({*record.keys.tolist(), *own.tolist()})
    assert joined.classes == {*record.classes, "new"}
    assert joined.status == "known"


def test_a_fold_that_is_changed_on_resuming_adds_its_images(config: RunConfig, table: Table) -> None:
    stop_at(config, table, 3)
    other = changed(config, data=config.data.model_dump() | {"fold": 1})
    fit(other, replace(table), resume=True, accept_changes=True)
    assert len(read_trained_on(config.output).keys) == 30


def test_a_run_begun_without_a_record_gets_one_when_it_is_resumed(config: RunConfig, table: Table) -> None:
    stop_at(config, table, 3)
    facts = json.loads((config.output / "run.json").read_text())
    facts.pop("trained_on")
    (config.output / "run.json").write_text(json.dumps(facts))
    (config.output / "trained_images.bin").unlink()
    fit(config, table, resume=True)
    record = read_trained_on(config.output)
    assert (len(record.keys), record.status) == (20, "known")
