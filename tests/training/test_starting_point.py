"""The run that training starts from, and what is said of it."""

from pathlib import Path

import numpy as np

from eml.models.trained_on import TrainedOn, trained_on
from eml.training.config import RunConfig
from eml.training.starting_point import earlier_record, starting_note, starting_run
from tests.training.runs import changed

OLD_RUN = Path(__file__).parents[1] / "fixtures" / "v0_1_0" / "run"


def test_only_a_run_or_a_checkpoint_is_a_starting_point(config: RunConfig) -> None:
    assert starting_run(config) is None
    assert earlier_record(config) is None
    for weights in ("pretrained", str(OLD_RUN / "run.json")):
        assert starting_run(changed(config, model=config.model.model_dump() | {"weights": weights})) is None


def test_the_note_says_what_the_run_was_trained_on_as_far_as_it_is_recorded(config: RunConfig) -> None:
    config = changed(config, model=config.model.model_dump() | {"weights": str(OLD_RUN)})
    assert starting_run(config) == OLD_RUN
    old = earlier_record(config)
    note = starting_note(config, old)
    assert note is not None
    assert note.endswith("classes; on which images it does not record")
    assert starting_note(config, None) is None
    record = trained_on(["a"], np.arange(1200, dtype=np.uint64))
    said = f"starts from {OLD_RUN}, which was trained on 1 class and 1,200 images"
    assert starting_note(config, record) == said
    partly = TrainedOn(record.classes, record.images, ("runs/old",))
    assert starting_note(config, partly) == f"{said}, and on more that runs/old does not record"
