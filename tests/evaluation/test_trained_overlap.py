"""Evaluations say how much of their images each model was trained on."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eml.dataset.image_keys import image_keys
from eml.dataset.table import Table, read_table
from eml.evaluation.options import EvaluationOptions
from eml.evaluation.runs import evaluate_models
from eml.evaluation.trained_overlap import OverlapCounter, TrainedOverlap, overlap_of_parts
from eml.images.preprocess import Preprocess
from eml.models.checkpoint import save_checkpoint
from eml.models.config import ModelConfig
from eml.models.embedder import build_embedder
from eml.models.necks.linear import Linear
from eml.models.trained_on import trained_on


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Four classes of three images."""
    lines = ["label,file_name"]
    for label in "abcd":
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(3):
            pixels = np.random.default_rng(10 * ord(label) + number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{number}.png")
            lines.append(f"{label},{label}/{number}.png")
    (tmp_path / "photos" / "test.csv").write_text("\n".join(lines))
    return read_table(tmp_path / "photos" / "test.csv")


def test_each_model_says_what_it_was_trained_on_and_old_ones_that_it_is_unknown(table: Table, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = ModelConfig(backbone="test_resnet", weights="none", neck=Linear(size=8))
    embedder, seen = build_embedder(config), table.frame.iloc[:5]
    record = trained_on(["a", "b", "x"], image_keys(table, seen))
    for name, own in (("new", record), ("old", None)):
        folder, labels = tmp_path / name / "epoch-001", ["a", "b", "x"]
        save_checkpoint(folder, embedder, config, Preprocess(size=32), labels, {}, trained_on=own)
    names = [str(tmp_path / name / "epoch-001") for name in ("new", "old")] + ["timm:test_resnet"]
    options = EvaluationOptions(
        names, [table.source], against=names[0], weights="none", image_size=32, out=tmp_path / "out", device="cpu"
    )
    done = evaluate_models(options)
    new, old, timm = done.facts()
    share = "2 of 4 classes (5 of 12 images) were trained on"
    caution = f"But {names[0]} knows the set: {share}, which favours it here."
    assert caution in done.leaderboards["test"].lines()
    comparisons = [result.analysis.comparison for result in done.results]
    assert comparisons[2] is not None
    assert caution in comparisons[2].lines()
    counts = {"of_classes": 4, "of_images": 12, "unrecorded": []}
    assert new["trained_on"] == {"status": "known", "classes": 2, "images": 5, **counts}
    assert old["trained_on"] == {"status": "unknown", "classes": 2, "images": None, **counts}
    assert timm["trained_on"] == {"status": "pretrained", "classes": 0, "images": 0, **counts}
    assert {facts["comparison"]["against_trained_on"]["images"] for facts in (new, old, timm)} == {5}
    written = tmp_path / "out" / "old-epoch-001" / "test" / "metrics.json"
    assert json.loads(written.read_text())["trained_on"]["status"] == "unknown"


def test_what_a_set_shares_with_the_training_is_said_in_words(table: Table) -> None:
    def overlap(classes: str, first: int, last: int) -> TrainedOverlap:
        record = trained_on(list(classes), image_keys(table, table.frame.iloc[first:last]))
        return OverlapCounter().count(record, table, table.frame)

    seen = overlap("ab", 0, 6)
    assert seen.lines("run") == [
        "run: 2 of 4 classes (6 of 12 images) were trained on, so its metrics look better than on new images"
    ]
    assert (seen.cell(), seen.short_cell(), seen.is_overlap) == ("2 of 4 classes", "2 of 4", True)
    renamed = overlap("xy", 0, 1)
    assert renamed.lines("run")[0].startswith("run: 1 of 4 classes (1 of 12 images) were trained on, so")
    assert (renamed.cell(), renamed.is_overlap) == ("1 of 4 classes", True)
    known_classes = overlap("abcd", 0, 0)
    assert known_classes.lines("run") == [
        "run: 4 of 4 classes (0 of 12 images) were trained on: its metrics are of new images of known classes"
    ]
    record = trained_on(["a", "b"], image_keys(table, table.frame.iloc[:6]))
    of_unknown = replace(table, unknown_label="b")
    without_b = OverlapCounter().count(record, of_unknown, table.frame)
    assert (without_b.classes, without_b.of_classes, without_b.images) == (1, 3, 6), "the unknown label is no class"
    unseen = overlap("xy", 0, 0)
    assert (unseen.lines("run"), unseen.cell(), unseen.is_overlap) == ([], "0 of 4 classes", False)
    unknown = OverlapCounter().count(None, table, table.frame)
    assert (unknown.lines("run"), unknown.cell()) == (["run: what its network was trained on is unknown"], "unknown")
    [threshold] = seen.threshold_lines("run")
    assert threshold.startswith("run: 2 of 4 classes (6 of 12 images) were trained on. The threshold flatters")


def test_a_run_that_started_from_one_without_a_record_is_never_said_to_be_unseen(table: Table) -> None:
    record = trained_on(["x"], image_keys(table, table.frame.iloc[:0]))
    record = record.after(trained_on(["a"], image_keys(table, table.frame.iloc[:0])), "")
    from_old = type(record)(record.classes, record.keys, ("runs/old",))
    overlap = OverlapCounter().count(from_old, table, table.frame)
    assert overlap.status == "partly known"
    assert overlap.short_cell() == "1 of 4 or more"
    assert overlap.lines("run")[-1] == "run: started from runs/old, which does not record its images"
    assert overlap.caution()


def test_the_parts_of_a_cross_validation_are_each_held_against_their_own_model(table: Table) -> None:
    parts = [table.frame.iloc[::2], table.frame.iloc[1::2]]
    own = [trained_on("abcd", image_keys(table, part)) for part in parts]
    others = overlap_of_parts(own[::-1], table, parts)
    assert (others.images, others.of_images, others.classes, others.caution()) == (0, 12, 4, "")
    same = overlap_of_parts(own, table, parts)
    assert same.images == 12
    assert same.caution().startswith("12 of 12 images were trained on by the network that judges them")
    assert overlap_of_parts([own[0], None], table, parts).status == "unknown"


def test_numbers_are_read_as_they_were_written_and_all_else_is_unknown() -> None:
    overlap = TrainedOverlap("partly known", 1, 2, 3, 4, ("runs/old",))
    assert TrainedOverlap.of_facts(json.loads(json.dumps(overlap.facts()))) == overlap
    good = overlap.facts()
    for other in (
        None,
        [],
        {},
        {"classes": 1},
        good | {"status": "no"},
        good | {"images": "2"},
        good | {"unrecorded": 1},
        good | {"more": 1},
    ):
        assert TrainedOverlap.of_facts(other).status == "unknown"
