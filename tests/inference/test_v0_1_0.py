"""What eml 0.1.0 wrote loads, with the numbers that it read itself."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eml
from eml.dataset.table import Table, read_table
from eml.evaluation.evaluate import evaluate_embeddings
from eml.evaluation.outputs import check_outputs
from eml.inference.embeddings_file import read_embeddings
from eml.models.checkpoint import load_checkpoint

FOLDER = Path(__file__).parents[1] / "fixtures" / "v0_1_0"
EXPECTED: dict[str, Any] = json.loads((FOLDER / "EXPECTED.json").read_text(encoding="utf-8"))


def test_a_run_loads_and_embeds_as_it_did() -> None:
    expected = EXPECTED["checkpoint"]
    model = eml.load(FOLDER / "run", device="cpu")
    assert model.folder == FOLDER / expected["best"]
    assert model.size == expected["embedding_size"]
    as_then = {"background": "white", "resize": "pillow"}
    assert model.preprocess.model_dump(mode="json") == expected["preprocess"] | as_then
    names = list(expected["embeddings"])
    embeddings = model.embed([FOLDER / name for name in names])
    np.testing.assert_allclose(embeddings, list(expected["embeddings"].values()), atol=1e-3)
    cosines = embeddings @ embeddings.T
    pairs = {"first_second": (0, 1), "first_third": (0, 2), "second_third": (1, 2)}
    for name, pair in pairs.items():
        assert cosines[pair] == pytest.approx(expected["cosines"][name], abs=1e-3)
    photos = [FOLDER / name for name in names]
    assert model.matches(photos[0], photos[1]) == expected["matches"]["first_and_second"]
    assert model.matches(photos[1], photos[2]) == expected["matches"]["second_and_third"]


def test_a_calibration_is_read_with_its_counts_of_pictures() -> None:
    expected = EXPECTED["checkpoint"]["calibration"]
    model = eml.load(FOLDER / "run", device="cpu")
    assert model.threshold == EXPECTED["checkpoint"]["threshold"]
    assert model.calibration is not None
    calibration = model.calibration.model_dump(mode="json")
    counts = expected.pop("counts")
    counts["images"] = counts.pop("pictures")
    assert calibration["counts"] == counts
    assert {key: calibration[key] for key in expected} == expected


def test_a_checkpoint_has_its_labels_and_metrics() -> None:
    checkpoint = load_checkpoint(FOLDER / "run")
    assert checkpoint.labels == EXPECTED["checkpoint"]["labels"]
    assert checkpoint.metrics == EXPECTED["checkpoint"]["metrics"]


@pytest.mark.parametrize("name", [name for name in EXPECTED["embeddings"] if (FOLDER / name).exists()])
def test_embeddings_files_are_read(name: str) -> None:
    expected = EXPECTED["embeddings"][name]
    table = None
    if expected["table"]:
        table = Table(read_table(FOLDER / expected["table"], FOLDER / "photos").frame, FOLDER / "photos")
    images, embeddings = read_embeddings(FOLDER / name, table)
    assert list(embeddings.shape) == expected["shape"]
    np.testing.assert_allclose(embeddings[0], expected["first_row"], atol=1e-6)
    assert list(images.frame.columns) == expected["columns"]
    assert images.frame["file_name"][0] == expected["first_file_name"]
    assert images.frame["label"][0] == expected["first_label"]


def test_the_metrics_of_saved_embeddings_are_those_that_were_written_beside_them() -> None:
    folder = FOLDER / "run" / "evaluations" / "dataset_test"
    images, embeddings = read_embeddings(folder / "embeddings.npz")
    metrics = evaluate_embeddings("run", embeddings, images).summary.values
    expected = EXPECTED["metrics"]["run/evaluations/dataset_test/metrics.json"]
    assert metrics == pytest.approx(expected, abs=1e-12)


def test_results_may_be_replaced(tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER / "run" / "evaluations" / "dataset_test", tmp_path / "results")
    check_outputs([Path(folder)], embeddings=True, page=True)
