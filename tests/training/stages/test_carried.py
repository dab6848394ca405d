"""The calibration that a refitted model carries: of the network before it, marked so."""

import numpy as np
import pandas as pd
import pytest
import torch

from eml.dataset.table import Table
from eml.evaluation.retrieval_set import RetrievalSet, label_codes
from eml.inference.load import load
from eml.json_files import read_json
from eml.models.calibration import calibration_path, read_calibration
from eml.training.build import build_parts
from eml.training.config import RunConfig
from eml.training.run_folder import RunFolder
from eml.training.stages.carried import carry_calibration
from eml.training.stages.networks import START, save_start

pytestmark = pytest.mark.slow


@pytest.mark.wide
def test_a_carried_calibration_names_its_classes_and_is_refused_by_an_earlier_eml(
    staged: RunConfig, open_table: Table
) -> None:
    folder = RunFolder(staged.output)
    folder.create(staged, {}, overwrite=False)
    save_start(build_parts(staged, open_table), folder, None)
    checkpoint = folder.checkpoints / START
    frame = pd.DataFrame({"label": np.repeat([f"k{number:02d}" for number in range(30)], 6)})
    codes = label_codes(frame)
    random = np.random.default_rng(0)
    embeddings = random.normal(size=(30, 16))[codes] + 0.5 * random.normal(size=(180, 16))
    rows = np.arange(180)
    images = RetrievalSet(frame, codes, rows, rows, "leave-one-out")
    carried = carry_calibration(checkpoint, torch.from_numpy(embeddings).float(), open_table, images, "cpu")
    assert carried.carried_from == sorted(frame["label"].unique())
    assert "30 held-out classes chose it" in carried.notes[-1]
    assert read_json(calibration_path(checkpoint))["format"] == 4
    assert carried.answers is not None
    assert carried.answers.gallery == "folds", "an index does not compare its embeddings with those of another network"
    model = load(checkpoint, device="cpu")
    assert model.calibration is not None
    assert model.threshold == carried.threshold.value
    own = carried.model_copy(update={"carried_from": None})
    assert "carried_from" not in own.to_json()
    assert read_calibration(checkpoint) is not None
