"""Never harm: where labels say nothing about the images, a run gives the untouched network and says why."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from eml.dataset.table import Table
from eml.models.checkpoint import load_checkpoint
from eml.models.pointers import find_checkpoint
from eml.training.config import RunConfig
from eml.training.fit import fit
from tests.training.runs import changed, draw

CONTROLS = ("shuffled", "singles", "contradicting")
SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


def spoiled(frame: pd.DataFrame, control: str) -> pd.DataFrame:
    """Return rows whose labels say nothing: a fold is a third of the classes."""
    random = np.random.default_rng(3)
    if control == "shuffled":
        frame = frame.assign(label=random.permutation(frame["label"].to_numpy(object)))
    elif control == "singles":  # one image per class but two
        first = frame.groupby("label").head(1)
        labels = sorted(frame["label"].unique())
        frame = pd.concat([first, frame[frame["label"].isin(labels[:2])].groupby("label").nth(1)])
    else:  # every image has one label and a look-alike another
        order = frame.groupby("label").cumcount()
        labels = sorted(frame["label"].unique())
        place = frame["label"].map({name: number for number, name in enumerate(labels)})
        frame = frame.assign(
            label=[labels[(row + number) % len(labels)] for row, number in zip(place, order, strict=True)]
        )
    codes = pd.factorize(frame["label"], sort=True)[0]
    return frame.assign(fold=codes % 3).reset_index(drop=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "control", [pytest.param(name, marks=[] if name == "shuffled" else pytest.mark.wide) for name in CONTROLS]
)
def test_a_run_on_labels_that_say_nothing_gives_the_untouched_network(
    control: str, staged: RunConfig, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp(control)
    table = Table(spoiled(draw(root, 12, 4, 24), control), root)
    config = changed(staged, data={"table": root, "workers": 0, "fold": 1 if control == "singles" else 0})
    result = fit(config, table)
    assert result.stages is not None
    assert not any(step.kept for step in result.stages.steps)
    assert result.stages.shipped == "untouched network"
    assert "gives the untouched network" in result.stages.conclusion
    assert not result.stages.refit
    assert find_checkpoint(config.output).name == "finished"
    assert load_checkpoint(config.output).config.model.neck.type == "identity"


@pytest.mark.wide
@pytest.mark.parametrize("control", CONTROLS)
def test_a_pretrained_network_is_not_harmed_by_labels_that_say_nothing(control: str, tmp_path: Path) -> None:
    weights = SHARED / "mobilenetv2_100.imagenet.fp16.safetensors"
    if not weights.is_file():
        pytest.skip(f"needs {weights}")
    images = tmp_path / "images"
    frame = draw_from(Path(os.environ.get("EML_TEST_IMAGES", SHARED / "grocery160")), images, 24, 8)
    table = Table(spoiled(frame, control), images)
    config = RunConfig.model_validate(
        {
            "output": tmp_path / "run",
            "data": {"table": images, "workers": 0, "fold": 1 if control == "singles" else 0},
            "image": {"size": 96},
            "model": {"weights": weights},
            "epochs": 2,
        }
    )
    result = fit(config, table)
    assert result.stages is not None
    untouched, given = result.stages.untouched, result.stages.value
    assert result.stages.shipped == "untouched network" or given >= untouched


def draw_from(source: Path, target: Path, classes: int, each: int) -> pd.DataFrame:
    """Copy some images of a folder of classes, smaller."""
    if not source.is_dir():
        pytest.skip(f"needs a folder of classes: {source}, or EML_TEST_IMAGES")
    rows = []
    folders = sorted({path.parent for path in source.rglob("*.*") if path.suffix in (".jpg", ".png")})
    for folder in folders[:classes]:
        (target / folder.name).mkdir(parents=True)
        for path in sorted(folder.glob("*.*"))[:each]:
            name = f"{folder.name}/{path.stem}.png"
            Image.open(path).convert("RGB").resize((96, 96)).save(target / name)
            rows.append({"label": folder.name, "file_name": name})
    return pd.DataFrame(rows)
