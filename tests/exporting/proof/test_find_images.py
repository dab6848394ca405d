"""Images that the model was not trained on are found first; where there are none, the command says what to give."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from eml.dataset.table import Table
from eml.errors import ConfigError
from eml.exporting.proof.find_images import DescribedTable, find_images
from eml.inference.model import Model
from eml.models.necks.identity import Identity
from eml.models.trained_on import TrainedOn
from tests.exporting.conftest import tiny_model

CONFIG = "data: {{table: {table}, fold: {fold}}}\nmodel: {{backbone: test_resnet, weights: none}}\noutput: {output}\n"


def model_of(run: Path, classes: set[str]) -> Model:
    """Return a model in the checkpoint folder of a run, trained on these classes."""
    checkpoint = run / "checkpoints" / "epoch-001"
    checkpoint.mkdir(parents=True, exist_ok=True)
    model = tiny_model(Identity())
    return Model(
        model.embedder,
        model.preprocess,
        model.device,
        checkpoint,
        trained_on=TrainedOn(frozenset(classes), None),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that held out fold 0 of a table, beside which the table of the test classes is."""
    folder = tmp_path_factory.mktemp("data")
    Image.fromarray(np.zeros((12, 8, 3), np.uint8)).save(folder / "0.png")
    rows = []
    for label in range(24):
        for number in range(3):
            name = f"c{label:02}_{number}.png"
            (folder / name).hardlink_to(folder / "0.png")
            rows.append((f"c{label:02}", name, 8, 12, label % 4))
    frame = pd.DataFrame(rows, columns=["label", "file_name", "width", "height", "fold"])
    frame.to_csv(folder / "folds.csv", index=False)
    frame.drop(columns="fold").assign(label="t" + frame["label"]).to_csv(folder / "dataset_test.csv", index=False)
    run = folder / "run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    return run


def write_config(run: Path, fold: str) -> None:
    (run / "config.yaml").write_text(CONFIG.format(table=run.parent / "folds.csv", fold=fold, output=run))


def test_the_images_are_those_that_the_run_did_not_train_on(run: Path) -> None:
    lines: list[str] = []
    write_config(run, "0")
    held_out = {f"c{label:02}" for label in range(0, 24, 4)}
    model = model_of(run, {f"c{label:02}" for label in range(24)} - held_out)
    images = find_images(model, "run", count=12, report=lines.append)
    assert images.chosen_from == "fold 0 of folds.csv, held out"
    assert set(images.frame["label"]) <= held_out
    assert not images.trained_on
    assert lines == [f"proof on 12 images of 4 classes of fold 0 of {run.parent / 'folds.csv'}, held out"]

    assert find_images(model, "run", count=200).chosen_from == "dataset_test.csv", "the fold has 18 images"
    write_config(run, "null")
    assert find_images(model_of(run, {"c00"}), "run", count=12).chosen_from == "dataset_test.csv"
    (run.parent / "dataset_test.csv").rename(run.parent / "elsewhere.csv")
    images = find_images(model_of(run, {f"c{label:02}" for label in range(24)}), "run", count=200)
    assert (images.chosen_from, images.trained_on) == ("folds.csv", True)
    named = find_images(model, "run", run.parent / "elsewhere.csv", count=200)
    assert (named.chosen_from, len(named), named.trained_on) == ("elsewhere.csv", 72, False)


def test_without_any_images_the_command_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        find_images(tiny_model(Identity()), "timm:x")
    assert (error.value.code, error.value.parameter) == ("missing-key", "prove_on")
    assert "timm:x: no images are known to prove an export on" in str(error.value)


def test_the_name_that_travels_has_no_folders() -> None:
    table = Table(pd.DataFrame(), Path("/home/somebody/images"), Path("/home/somebody/t.csv"))
    described = DescribedTable(table, "fold 0 of {}, held out")
    assert (described.name, described.place) == (
        "fold 0 of t.csv, held out",
        "fold 0 of /home/somebody/t.csv, held out",
    )
    assert DescribedTable(replace(table, path=None)).name == "the table of images"
