"""Calibration by the folds of a cross-validation: each network answers only for the classes that it has not seen."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import eml
from eml.dataset.table import Table
from eml.errors import DataError
from eml.images.preprocess import Preprocess
from eml.inference.embed import embed_table
from eml.inference.embeddings_file import write_embeddings
from eml.inference.load import load
from eml.models.checkpoint import save_checkpoint
from eml.models.config import ModelConfig
from eml.models.embedder import build_embedder
from eml.models.necks.linear import Linear
from eml.models.trained_on import trained_on
from eml.retrieval.verification import Goal, OpenSet
from eml.retrieval.verification.calibration import calibrate
from eml.retrieval.verification.pooled import calibrate_pooled
from tests.retrieval.drawn_worlds import draw_world

CLASSES, EACH = 12, 5


def network(folder: Path, seed: int) -> None:
    torch.manual_seed(seed)
    config = ModelConfig(backbone="test_resnet", weights="none", neck=Linear(size=16))
    record = trained_on(["x"], np.zeros(1, np.uint64))
    save_checkpoint(folder, build_embedder(config), config, Preprocess(size=32), ["x", "y"], {}, trained_on=record)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-validation of two folds by class, without the training: two networks of different weights."""
    run, random = tmp_path_factory.mktemp("folds"), np.random.default_rng(0)
    rows = []
    for label in range(CLASSES):
        (run / "photos" / f"{label:02}").mkdir(parents=True)
        colour = random.integers(0, 256, 3)
        for number in range(EACH):
            pixels = (colour + random.normal(0, 50, (4, 4, 3))).clip(0, 255).astype(np.uint8)
            name = f"{label:02}/{number}.png"
            Image.fromarray(pixels).resize((40, 40)).save(run / "photos" / name)
            rows.append((name, f"{label:02}", label % 2))
    frame = pd.DataFrame(rows, columns=["file_name", "label", "fold"])
    parts = []
    for fold in (0, 1):
        network(run / f"fold-{fold}", fold)
        part = frame[frame["fold"] == fold]
        model = load(run / f"fold-{fold}", device="cpu")
        parts.append((embed_table(model, Table(part, run / "photos"), part), part))
    write(run / "out_of_fold.npz", parts)
    network(run / "all", 7)
    return run


def write(path: Path, parts: list[tuple[torch.Tensor, pd.DataFrame]]) -> None:
    frame = pd.concat([part for _, part in parts])
    fold = frame["fold"].to_numpy(np.int64)
    write_embeddings(path, torch.cat([embeddings for embeddings, _ in parts]), frame.drop(columns="fold"), fold=fold)


@pytest.mark.wide
def test_folds_by_class_calibrate_a_checkpoint_that_has_seen_all_classes(run: Path) -> None:
    eml.calibrate(str(run / "all"), from_folds=run, root=run / "photos", far=0.2, device="cpu")
    calibration = eml.load(run / "all", device="cpu").calibration
    assert calibration is not None
    answers = calibration.answers
    assert answers is not None
    assert (answers.gallery, sorted(answers.fold_thresholds)) == ("folds", ["0", "1"])
    # A query of a fold meets the 6 classes of the other fold, and as a known one its own class too.
    assert (answers.counts["unknown_queries"], answers.counts["unknown_classes"]) == (60, 12)
    assert answers.counts["gallery_classes"] == 6
    assert any("carried over as it is" in note for note in answers.notes)
    assert "pair_false_accept_rate" not in calibration.measured
    pairs = 2 * (CLASSES // 2 * EACH) * (CLASSES // 2 * EACH - 1) // 2  # within the folds alone
    assert calibration.counts["same_pairs"] + calibration.counts["different_pairs"] == pairs
    assert sum(calibration.histogram_same) + sum(calibration.histogram_different) == pairs


def test_folds_by_images_and_goals_of_pairs_are_errors(run: Path, tmp_path: Path) -> None:
    with np.load(run / "out_of_fold.npz") as arrays:
        content = dict(arrays)
    torn = tmp_path / "torn"
    torn.mkdir()
    np.savez(torn / "out_of_fold.npz", **content | {"fold": np.arange(len(content["fold"])) % 2})
    with pytest.raises(DataError, match="12 of 12 classes have images in several folds, so every network has seen"):
        eml.calibrate(str(run / "all"), from_folds=torn, root=run / "photos", far=0.2, device="cpu")
    with pytest.raises(DataError, match="images of different folds are in different spaces"):
        eml.calibrate(str(run / "all"), from_folds=run, root=run / "photos", pair_far=0.2, device="cpu")
    with pytest.raises(eml.EmlError, match="`data` says what to calibrate with, and so does `from_folds`"):
        eml.calibrate(str(run / "all"), data=run, from_folds=run, far=0.2)
    with pytest.raises(eml.EmlError, match="give `data`"):
        eml.calibrate(str(run / "all"), far=0.2)


def test_pooled_sets_are_never_compared_with_each_other() -> None:
    world = draw_world(1, calibrated=24, indexed=1, trained=0, unknown=1)
    embeddings = torch.as_tensor(world.calibration.embeddings)
    labels = np.repeat(np.arange(24), 12)
    parts = [
        OpenSet.leave_one_out(embeddings[labels < 10], labels[labels < 10]),
        OpenSet.leave_one_out(embeddings[labels >= 10, :9], labels[labels >= 10] - 10),  # of another size
    ]
    pooled = calibrate_pooled(parts, Goal("far", 0.1))
    assert pooled.counts["classes"] == 24
    tops = np.concatenate([part.search().nearest_other_class for part in parts])
    assert pooled.measured["false_accept_rate"].value == np.mean(tops >= pooled.threshold.value)
    alone = calibrate_pooled(parts[:1], Goal("far", 0.1))
    whole = calibrate(parts[0], Goal("far", 0.1))
    assert (alone.threshold, alone.plain) == (whole.threshold, whole.plain)
    assert np.array_equal(alone.held_out, whole.held_out, equal_nan=True)
    assert alone.measured == {name: rate for name, rate in whole.measured.items() if name in alone.measured}
