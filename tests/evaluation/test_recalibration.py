"""A calibration that is made again with the same embeddings is the same one."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from eml.errors import DataError
from eml.evaluation import calibration
from eml.evaluation.recalibration import calibrate_again, read_calibration_table
from eml.evaluation.retrieval_set import build_retrieval_set
from eml.files import digest
from eml.images.preprocess import Preprocess
from eml.models.calibration import Calibration, find_calibration_table
from eml.models.fingerprint import Fingerprint
from eml.retrieval.verification import Goal, calibrate

CLASSES, EACH = 30, 4
OTHER = Fingerprint(
    digest="d", backbone="b", weights="w", preprocess=Preprocess(size=32), precision="float32", tta="none", size=8
)


def embeddings(seed: int, noise: float = 0.5) -> torch.Tensor:
    centres = torch.randn(CLASSES, 8, generator=torch.Generator().manual_seed(1)).repeat_interleave(EACH, 0)
    return centres + noise * torch.randn(centres.shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recalibration")
    rows = [(f"c{label:02}", f"{label}_{number}.png") for label in range(CLASSES) for number in range(EACH)]
    for _, name in rows:
        (folder / name).touch()
    frame = pd.DataFrame(rows, columns=["label", "file_name"]).assign(camera=np.arange(len(rows)) % 2)
    frame.to_csv(folder / "test.csv", index=False)
    return folder / "test.csv"


@pytest.fixture(scope="module")
def stored(table: Path) -> Calibration:
    """A calibration of the table, with one scoring alone, as the choice takes long."""
    retrieval = build_retrieval_set(pd.read_csv(table), "t")
    goal = Goal("far", 0.2)
    data = retrieval.open_set(embeddings(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "SCORINGS", calibration.SCORINGS[:1])
        answers, notes = calibration.calibrate_answers(data, goal, unknown_share=0.3, seed=5)
    fields = calibration.calibrated_fields(calibrate(data, goal, seed=5, few_classes=True))
    facts = {"goal": "far", "goal_value": 0.2, "strict": False, "confidence": 0.95, "seed": 5, "resamples": 9}
    return Calibration.model_validate(
        facts
        | fields
        | {"eml_version": "x", "created": "", "weights_digest": "", "table": str(table), "table_digest": digest(table)}
        | {"protocol": retrieval.protocol, "answers": answers, "notes": [*fields["notes"], *notes]}
    )


@pytest.mark.usefixtures("one_scoring")
def test_the_same_embeddings_give_the_same_calibration(stored: Calibration) -> None:
    images = read_calibration_table(stored)
    again = calibrate_again(stored, images.retrieval, embeddings(2), OTHER)
    own = {"eml_version", "created", "weights_digest", "fingerprint"}
    assert again.model_dump(exclude=own) == stored.model_dump(exclude=own)
    assert (again.fingerprint, again.weights_digest) == (OTHER, "w")


def test_the_threshold_is_that_of_the_new_embeddings(stored: Calibration, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eml.evaluation.recalibration.calibrate_answers", lambda *data, **options: (None, ["few"]))
    images = read_calibration_table(stored)
    other = calibrate_again(stored, images.retrieval, embeddings(2, noise=0.3), OTHER)
    assert other.threshold.value != stored.threshold.value
    assert other.answers is None
    assert other.notes[-1] == "few"
    half = build_retrieval_set(images.retrieval.frame.iloc[:60], "t")
    with pytest.raises(DataError, match="and the table gives 60 images"):
        calibrate_again(stored, half, embeddings(2)[:60], OTHER)


def test_the_protocol_is_that_of_then(stored: Calibration) -> None:
    protocol = "leave-one-out, without the same camera, within each label"
    retrieval = read_calibration_table(stored.model_copy(update={"protocol": protocol})).retrieval
    assert retrieval.protocol == protocol
    assert retrieval.groups is not None
    assert retrieval.within is not None


def test_a_table_that_moved_along_with_the_checkpoint_is_known_by_its_digest(
    stored: Calibration, table: Path, tmp_path: Path
) -> None:
    now = tmp_path / "now"
    shutil.copytree(table.parent, now / "photos")
    (folder := now / "photos" / "run" / "checkpoints" / "epoch-001").mkdir(parents=True)
    moved = stored.model_copy(update={"table": "/before/photos/test.csv"})
    images = read_calibration_table(moved, folder=folder)
    assert images.table.path == now / "photos" / "test.csv"
    relative = stored.model_copy(update={"table": "photos/test.csv"})  # as eml 0.1.0 kept it, from another folder
    assert find_calibration_table(relative, folder) == now / "photos" / "test.csv"
    assert find_calibration_table(stored, folder) == table, "it is where it was"
    assert find_calibration_table(moved, tmp_path) == Path("/before/photos/test.csv")
    (now / "photos" / "test.csv").write_text("label,file_name\n")
    assert find_calibration_table(moved, folder) == Path("/before/photos/test.csv"), "of other images"


@pytest.mark.parametrize(
    "update, text",
    [
        ({"carried_from": ["a"]}, "a network before"),
        ({"protocol": "out of fold, within each fold"}, "folds of a cross-validation"),
        ({"table": None}, "of a table in no file"),
        ({"table": "/gone.csv"}, "is no longer there"),
        ({"table": "gone.csv"}, "run this where it was calibrated"),
        ({"table_digest": "other"}, "was changed since"),
        ({"protocol": "query/gallery"}, "its protocol was"),
    ],
)
def test_what_cannot_be_made_again_says_why(stored: Calibration, update: dict[str, Any], text: str) -> None:
    with pytest.raises(DataError, match=text):
        read_calibration_table(stored.model_copy(update=update))
