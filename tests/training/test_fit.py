"""The run as a whole."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from eml.config import load_plugins
from eml.dataset.table import Table
from eml.errors import ConfigError, DataError
from eml.images.identify import IMAGE_CODES
from eml.models.pointers import find_checkpoint
from eml.training.config import RunConfig
from eml.training.events import Event, Stepped, Validated
from eml.training.fit import fit
from tests.training.runs import changed, left_by

pytestmark = pytest.mark.slow


def test_another_seed_gives_another_run(config: RunConfig, table: Table, tmp_path: Path) -> None:
    fit(config, table)
    other = changed(config, output=tmp_path / "seed", seed=1)
    fit(other, table)
    assert left_by(other.output)["steps.jsonl"] != left_by(config.output)["steps.jsonl"]


@pytest.mark.wide
def test_eight_images_can_be_overfitted(config: RunConfig, table: Table) -> None:
    few = Table(table.frame.groupby("label").head(2).query("label < 'c4'").reset_index(drop=True), table.root)
    losses: list[float] = []
    eager = changed(config, data={"table": table.path, "fold": None}, augment={"type": "none"}, epochs=40, batch_size=8)
    fit(eager, few, observe=lambda event: losses.append(event.loss) if isinstance(event, Stepped) else None)
    assert losses[0] > 3
    assert losses[-1] < 0.1


def test_best_is_the_epoch_with_the_best_metric_and_only_named_checkpoints_stay(
    config: RunConfig, table: Table
) -> None:
    values: dict[int, float] = {}

    def observe(event: Event) -> None:
        if isinstance(event, Validated):
            values[event.epoch] = event.values["map_at_r"]

    result = fit(changed(config, epochs=4), table, observe=observe)
    trained = {epoch: value for epoch, value in values.items() if epoch > 0}
    best = min(epoch for epoch, value in trained.items() if value == max(trained.values()))
    assert sorted(values) == [0, 1, 2, 3, 4]
    assert result.best_epoch == best
    assert find_checkpoint(result.folder).name == f"epoch-{best:03d}"
    assert find_checkpoint(result.folder / "checkpoints" / "last").name == "epoch-004"
    assert len(list((result.folder / "checkpoints").glob("epoch-*"))) == len({best, 4})


def test_an_image_that_cannot_be_read_is_named(config: RunConfig, table: Table, tmp_path: Path) -> None:
    frame = table.frame.copy()
    frame.loc[frame["fold"] != 0, "file_name"] = "c0/gone.png"
    with pytest.raises(DataError, match=r"c0/gone\.png"):
        fit(config, Table(frame, table.root))


def test_an_image_that_was_damaged_since_ends_a_run_with_what_to_do(
    config: RunConfig, table: Table, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(table.root, tmp_path / "photos"))
    damaged = root / table.frame.loc[table.frame["fold"] == 1, "file_name"].iloc[0]
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(DataError, match=damaged.name) as caught:
        fit(config, Table(table.frame, root))
    assert caught.value.code in IMAGE_CODES
    resume = f"the last saved state is of step 0. Resume with: eml train {config.output / 'config.yaml'} --resume"
    assert resume in str(caught.value)
    assert f"Or leave it out and train anew: eml scan {root}, and" in str(caught.value)


def test_training_ends_when_patience_does(config: RunConfig, table: Table, tmp_path: Path) -> None:
    still = {"optimizer": {"lr": {"backbone": 0, "neck": 0, "class_weights": 1e-3}}, "epochs": 6}
    patient = changed(config, **still, validation={"patience": 2})
    result = fit(patient, table)
    assert result.best_epoch == 1, "a frozen network is never better than in its first epoch"
    epochs = [json.loads(line)["epoch"] for line in (patient.output / "metrics.jsonl").read_text().splitlines()]
    assert epochs == [0, 1, 2, 3]
    assert fit(patient, table, resume=True).best_epoch == 1, "and it stays ended"
    assert result.verdict is not None
    assert not result.verdict.helped
    assert result.verdict.question == "new images of known classes"
    assert "No query changed: training made no difference" in result.verdict.lines()[1]


EXITING = """
import sys
from typing import Literal
from eml.images.augment import Augment

class Leaving(Augment):
    type: Literal["leaving"] = "leaving"

    def build(self, preprocess):
        return None

def leave(*_):
    sys.exit()
"""


@pytest.mark.usefixtures("plugins_forgotten")
def test_a_plugin_that_ends_the_process_is_an_error_with_its_line(
    config: RunConfig, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file := tmp_path / "leaving.py").write_text(EXITING)
    (plugin,) = load_plugins(file)
    monkeypatch.setattr("eml.training.fit.apply_recipe", sys.modules[plugin.module].leave)
    with pytest.raises(ConfigError, match=f"{file}:13: plugin leaving.py raises SystemExit$") as raised:
        fit(config, table)
    assert raised.value.code == "plugin-failed"
    monkeypatch.setattr("eml.training.fit.apply_recipe", lambda *_: sys.exit())
    with pytest.raises(SystemExit):
        fit(config, table)
