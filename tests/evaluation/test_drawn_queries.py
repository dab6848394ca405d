"""Some queries of a set, drawn by class: as likely as any other, and measured as in the whole set."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eml.cli.app import main
from eml.evaluation.drawn_queries import draw_queries
from eml.evaluation.retrieval_set import RetrievalSet, build_retrieval_set
from eml.retrieval.metrics import metrics_at, summarise
from eml.retrieval.ranking import rank


def images(sizes: list[int], unknown: int = 0) -> RetrievalSet:
    labels = [f"c{number:02d}" for number, size in enumerate(sizes) for _ in range(size)] + ["new"] * unknown
    frame = pd.DataFrame({"label": labels, "file_name": [f"{number}.jpg" for number in range(len(labels))]})
    shuffled = frame.sample(frac=1, random_state=0)
    return build_retrieval_set(shuffled, "t.csv", unknown_label="new" if unknown else None)


def test_each_class_gives_its_share_of_the_queries_and_the_gallery_stays_whole() -> None:
    sizes = [1, 2, 5, 30, 62]
    whole = images(sizes)
    part = draw_queries(whole, 40)
    assert len(np.unique(part.queries)) == 40
    assert (np.diff(part.queries) > 0).all()
    counts = np.bincount(whole.labels[part.queries], minlength=5)
    assert (np.abs(counts - 0.4 * np.array(sizes)) < 1).all()
    assert part.gallery is whole.gallery
    assert (part.protocol, part.queries_of) == ("leave-one-out, 40 of 100 queries drawn by class", 100)


def test_the_same_images_give_the_same_queries_and_few_stay_as_they_are() -> None:
    whole = images([10, 20, 70])
    assert draw_queries(whole, 30).queries.tolist() == draw_queries(images([10, 20, 70]), 30).queries.tolist()
    assert draw_queries(whole, 100) is whole
    assert draw_queries(whole, None) is whole


def test_every_query_is_as_likely_as_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, counts = images([1, 3, 16]), np.zeros(20)
    for seed in range(400):
        monkeypatch.setattr("eml.evaluation.drawn_queries.SEED", seed)
        counts[draw_queries(whole, 5).queries] += 1
    assert np.abs(counts / 400 - 0.25).max() < 4.5 * np.sqrt(0.25 * 0.75 / 400)


def test_queries_of_unknown_identity_are_drawn_at_the_same_rate() -> None:
    part = draw_queries(images([20, 20], unknown=20), 10)
    assert (len(part.queries), len(part.unknown_queries)) == (10, 5)


def test_a_drawn_query_is_measured_as_among_all() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(300) % 40
    rows = random.normal(size=(40, 16))[labels] + random.normal(size=(300, 16))
    whole = replace(images([300, 1]), labels=labels, queries=np.arange(300), gallery=np.arange(300))
    drawn = draw_queries(whole, 60).queries
    everyone = summarise(rank(rows, labels), metrics_at(()))
    part = summarise(rank(rows[drawn], labels[drawn], rows, labels, itself=drawn), metrics_at(()))
    for name, values in part.per_query.items():
        assert np.array_equal(values, everyone.per_query[name][drawn]), name


def test_evaluate_says_that_queries_were_drawn_and_how_sure_the_figures_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    files = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for file, noise in zip(files, (1.0, 1.6), strict=True):
        rows = random.normal(size=(60, 16)).repeat(5, 0) + noise * random.normal(size=(300, 16))
        np.savez(file, embeddings=rows, label=np.arange(60).astype(str).repeat(5))
    out = tmp_path / "out"
    words = ["evaluate", str(files[0]), "--against", str(files[1]), "--out", str(out)]
    assert main([*words, "--queries", "100"]) == 0
    shown = capsys.readouterr().out
    assert "100 of 300" in shown
    facts = json.loads((out / "embeddings" / "metrics.json").read_text())
    assert (facts["queries"], facts["queries_drawn"], facts["queries_drawn_of"], facts["gallery"]) == (
        100,
        100,
        300,
        299,
    )
    assert facts["protocol"] == "leave-one-out, 100 of 300 queries drawn by class"
    assert "100 of the 300 queries were drawn" in (out / "embeddings" / "report.html").read_text()
    assert main([*words, "--queries", "1000", "--no-report"]) == 0
    assert "drawn" not in capsys.readouterr().out
    whole = json.loads((out / "embeddings" / "metrics.json").read_text())
    assert "queries_drawn" not in whole
    low, high = facts["intervals"]["map_at_r"]
    all_low, all_high = whole["intervals"]["map_at_r"]
    assert low < whole["metrics"]["map_at_r"] < high
    assert high - low > all_high - all_low
    assert main([*words[:2], str(files[1]), *words[4:], "--queries", "100", "--no-report"]) == 0
    assert "100 queries (drawn by class: 100 of 300)" in capsys.readouterr().out
