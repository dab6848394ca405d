"""Few classes: each fold is held out in turn, and all classes judge."""

import os
import signal
from pathlib import Path

import pandas as pd
import pytest

from eml.dataset.table import Table
from eml.errors import Interrupted
from eml.models.pointers import find_checkpoint
from eml.training.config import RunConfig
from eml.training.events import Event, Stepped
from eml.training.fit import fit
from eml.training.stages.rotation import rotated_folds
from tests.training.runs import changed, draw, left_by

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """8 classes of 4 images in 3 folds by class."""
    root = tmp_path_factory.mktemp("few")
    frame = draw(root, 8, 4, 24)
    frame["fold"] = pd.factorize(frame["label"])[0] % 3
    return Table(frame, root)


@pytest.mark.wide
def test_all_classes_judge_and_a_stopped_rotation_ends_with_the_same_bytes(
    few: Table, staged: RunConfig, tmp_path: Path
) -> None:
    config = changed(staged, epochs=1, data={"table": few.root, "workers": 0}, refit=True)
    assert rotated_folds(config, few) == [1, 2]
    result = fit(config, few)
    assert result.stages is not None
    assert set(result.stages.judging) == {f"c{number}" for number in range(8)}
    assert result.stages.steps[0].classes == 8
    assert result.verdict is not None
    assert result.verdict.classes == 8
    assert sorted(path.name for path in (config.output / "rotation").iterdir()) == ["fold-1", "fold-2"]
    stopped = changed(config, output=tmp_path / "stopped")
    steps = 0

    def observe(event: Event) -> None:
        nonlocal steps
        steps += isinstance(event, Stepped)
        if isinstance(event, Stepped) and steps == 4:  # of the second of three folds
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        fit(stopped, few, observe=observe)
    assert fit(stopped, few, resume=True).stages == result.stages
    assert left_by(stopped.output) == left_by(config.output)
    assert find_checkpoint(stopped.output).name in ("finished", "refitted")


def test_a_run_with_enough_classes_or_a_closed_task_is_not_rotated(
    few: Table, open_table: Table, staged: RunConfig
) -> None:
    assert rotated_folds(staged, open_table) == []
    assert rotated_folds(changed(staged, task="closed"), few) == []
    assert rotated_folds(changed(staged, stages="none"), few) == []
