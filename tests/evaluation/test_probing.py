"""Networks ranked on classes: the linear stage judges classes that taught it nothing, and the pick follows rules."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from eml.dataset.table import Table
from eml.errors import ConfigError
from eml.evaluation.probing import timing
from eml.evaluation.probing.candidates import Candidate, candidates_of
from eml.evaluation.probing.class_folds import class_folds, rows_to_probe
from eml.evaluation.probing.linear_stage import LinearStage, choose_shrinkage, linear_stage, map_at_r, untouched
from eml.evaluation.probing.results import Measured, ProbeRow, pick, ranked
from eml.evaluation.probing.timing import Speed, measure_speed
from eml.images.preprocess import Preprocess
from eml.retrieval.within_class import fit_within_class

CLASSES, EACH, SIZE = 24, 6, 16
LABELS = np.repeat(np.arange(CLASSES), EACH)
FOLDS = LABELS % 3


def features() -> torch.Tensor:
    """(N, D) unit vectors: classes differ in all directions, and images of a class most in the first two."""
    random = np.random.default_rng(1)
    within = random.normal(0, 1, (len(LABELS), SIZE)) * ([4, 4] + [0.5] * (SIZE - 2))
    rows = torch.from_numpy(random.normal(0, 1, (CLASSES, SIZE))[LABELS] + within).float()
    return torch.nn.functional.normalize(rows)


def test_the_linear_stage_finds_what_differs_within_classes_and_judges_every_class_once() -> None:
    plain, stage = untouched(features(), LABELS, FOLDS), linear_stage(features(), LABELS, FOLDS)
    assert np.isfinite(plain).all()
    assert np.isfinite(stage.per_query).all()
    assert len(stage.shrinkages) == 3
    assert stage.per_query.mean() > plain.mean() + 0.2


def test_a_fold_is_judged_by_what_the_other_folds_teach() -> None:
    rows, stage = features(), linear_stage(features(), LABELS, FOLDS)
    for fold in range(3):
        taught, judged = fold != FOLDS, fold == FOLDS
        shrinkage = choose_shrinkage(rows[taught], LABELS[taught])
        projection = fit_within_class(rows[taught], LABELS[taught], shrinkage=shrinkage)
        expected = map_at_r(projection.transform(rows[judged]).float(), LABELS[judged])
        assert np.array_equal(stage.per_query[judged], expected)


def test_folds_hold_whole_classes_and_few_classes_have_none() -> None:
    names = [f"c{label:02}/{number}.jpg" for number, label in enumerate(LABELS)]
    frame = pd.DataFrame({"file_name": names, "label": [name[:3] for name in names]})
    table = Table(frame, Path("photos"))
    folds = class_folds(table, frame, 28)
    assert folds is not None
    assert pd.Series(folds).groupby(frame["label"]).nunique().max() == 1
    assert set(folds.tolist()) == {0, 1, 2}
    few = frame[frame["label"] < "c03"].reset_index(drop=True)
    assert class_folds(Table(few, Path("photos")), few, 28) is None
    drawn = rows_to_probe(table, 30, 28)
    assert len(drawn) == 30
    assert (drawn["label"].value_counts() == EACH).all()


def measured(mean: float, ms: float, spread: float = 0.0) -> Measured:
    per_query = np.full(len(LABELS), mean) + spread * np.random.default_rng(int(ms)).normal(0, 1, CLASSES)[LABELS]
    return Measured(per_query, LinearStage(per_query, (0.5,)), LABELS, Speed(ms, 16, 1, "cpu"), 8, 100, 32, "f")


def row(name: str, figures: Measured | None, weights: str = "pretrained") -> ProbeRow:
    return ProbeRow(Candidate(name, f"timm:{name}", weights), figures, problem="" if figures else "not there")


def test_the_best_is_first_with_paired_differences_and_those_that_failed_are_last() -> None:
    rows = ranked([row("gone", None), row("low", measured(0.2, 1, 0.01)), row("high", measured(0.6, 2, 0.01))])
    assert [each.candidate.name for each in rows] == ["high", "low", "gone"]
    assert rows[0].to_best is None
    assert rows[1].to_best is not None
    assert rows[1].to_best.interval.high < 0
    assert rows[1].facts()["to_best"]["verdict"] == "worse"
    assert rows[2].facts()["problem"] == "not there"


def test_a_quicker_network_is_picked_where_it_surely_loses_little_and_random_weights_never() -> None:
    best, quick = measured(0.6, 20), measured(0.596, 2)
    near = replace(quick, linear=LinearStage(best.judged - 0.004 + 0.0001 * np.sin(LABELS), (0.5,)))
    unsure = measured(0.5, 1, 0.4)
    chosen = pick(ranked([row("best", best), row("near", near), row("random", measured(0.9, 1), "none")]))
    assert chosen is not None
    assert chosen.row.candidate.name == "near"
    assert "within 0.01" in chosen.reason
    chosen = pick(ranked([row("best", best), row("unsure", unsure)]))
    assert chosen is not None
    assert chosen.row.candidate.name == "best"
    assert "cannot tell it from unsure" in chosen.reason
    assert pick(ranked([row("random", best, "none"), row("gone", None)])) is None


def test_the_time_of_a_network_is_that_of_the_batch_which_other_work_slowed_least(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([0.0, 9.0, 10.0, 10.5, 20.0, 28.0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    model: Any = SimpleNamespace(preprocess=Preprocess(size=8), device="cpu", embed_pixels=lambda pixels: pixels)
    assert measure_speed(model, batch_size=5, batches=3).milliseconds == pytest.approx(100)


def test_names_mean_networks_files_and_controls(tmp_path: Path) -> None:
    first, second = tmp_path / "a,b.pth", tmp_path / "c.pth"
    for file in (first, second):
        file.write_bytes(b"")
    own = candidates_of(["test_vit=none, resnet18", f"resnet50={first}", f"resnet50={second}"])
    assert [(candidate.kind, candidate.backbone) for candidate in own] == [
        ("none", "test_vit"),
        ("hub", "resnet18"),
        ("file", "resnet50"),
        ("file", "resnet50"),
    ]
    assert own[2].name == f"resnet50={first}"
    assert own[2].name != own[3].name
    assert own[1].licence == "apache-2.0"
    assert own[2].licence is None
    assert [candidate.kind for candidate in candidates_of([])] == ["hub"] * len(candidates_of([]))


def test_all_names_that_mean_nothing_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        candidates_of([f"resnet18={tmp_path}/no.pth", "resnet5x", f"{tmp_path}/run", "resnet18,resnet18"])
    codes = [problem.code for problem in caught.value.problems]
    assert codes == ["missing-file", "unknown-choice", "no-checkpoint", "conflicting-settings"]
