"""Two models on one set: what is told of the difference is so."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from eml.cli.app import main
from eml.dataset.table import Table, write_table
from eml.errors import DataError
from eml.evaluation.comparison import ALIKE, BETTER, UNKNOWN, WORSE, compare, verdict_on
from eml.evaluation.evaluate import Evaluation, evaluate_embeddings
from eml.inference.embeddings_file import write_embeddings

CLASSES, EACH = 40, 6
LABELS = np.repeat([f"c{index:02}" for index in range(CLASSES)], EACH)
TABLE = Table(pd.DataFrame({"label": LABELS, "file_name": [f"{n}.png" for n in range(len(LABELS))]}), Path("/nowhere"))


def embeddings(noise: float, seed: int = 0, size: int = 16) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    centers = torch.randn(CLASSES, size, generator=torch.Generator().manual_seed(1))
    return centers.repeat_interleave(EACH, 0) + noise * torch.randn(len(LABELS), size, generator=random)


def evaluated(noise: float, seed: int = 0, size: int = 16) -> Evaluation:
    return evaluate_embeddings(f"noise {noise}", embeddings(noise, seed, size), TABLE)


def test_a_better_model_is_told_from_one_that_is_as_good() -> None:
    good, bad = evaluated(1.0), evaluated(1.5)
    found = compare(good, bad)
    assert {verdict_on(each) for each in found.differences.values()} == {BETTER}
    assert found.lines()[0].startswith("noise 1.0 is better than noise 1.5: MAP@R +")
    assert verdict_on(compare(bad, good).differences["global_average_precision"]) == WORSE
    again = compare(evaluated(1.0), evaluated(1.0, seed=2))
    assert verdict_on(again.differences["map_at_r"]) == UNKNOWN
    assert again.lines()[0].startswith("The data cannot tell")


def test_differences_are_those_of_the_means() -> None:
    one, other = evaluated(1.0), evaluated(1.5, size=8)
    found = compare(one, other)
    assert list(found.differences) == list(one.summary.values)
    for name, each in found.differences.items():
        assert each.before == pytest.approx(other.summary.values[name])
        assert each.after == pytest.approx(one.summary.values[name])
        assert each.interval.low <= each.value <= each.interval.high


def test_queries_and_classes_that_changed_are_counted() -> None:
    one, other = evaluated(1.0), evaluated(1.5)
    found = compare(one, other)
    now, was = one.summary.per_query["recall_at_1"] > 0, other.summary.per_query["recall_at_1"] > 0
    assert (found.to_right, found.to_wrong) == ((now & ~was).sum(), (was & ~now).sum())
    assert found.to_right_classes == len(set(LABELS[now & ~was]))
    assert found.to_right + found.to_wrong + found.both_right + found.both_wrong == len(LABELS)
    change = one.summary.per_query["map_at_r"] - other.summary.per_query["map_at_r"]
    by_class = pd.Series(change).groupby(LABELS).mean().sort_values()
    assert found.gained[0].label == by_class.index[-1]
    assert found.gained[0].after - found.gained[0].before == pytest.approx(by_class.iloc[-1])
    assert [each.label for each in found.lost] == by_class[by_class < 0].index[:10].tolist()


def test_a_model_against_itself_answers_every_query_alike() -> None:
    found = compare(evaluated(1.0), evaluated(1.0))
    assert found.alike
    assert found.facts()["alike"] is True
    assert {verdict_on(each) for each in found.differences.values()} == {ALIKE}
    assert found.lines() == ["noise 1.0 and noise 1.0 answer each of the 240 queries alike, by every metric."]
    assert (found.gained, found.lost) == ([], [])
    scaled = evaluate_embeddings("twice", 2 * embeddings(1.0), TABLE)
    assert compare(evaluated(1.0), scaled).alike


def test_one_query_that_changed_is_not_alike() -> None:
    moved = embeddings(1.0)
    moved[3] = embeddings(1.5)[3]
    found = compare(evaluate_embeddings("moved", moved, TABLE), evaluated(1.0))
    assert not found.alike
    assert found.differences["map_at_r"].value != 0
    assert verdict_on(found.differences["map_at_r"]) == UNKNOWN


def test_queries_of_a_changed_class_went_its_way_and_have_their_first_neighbours() -> None:
    one, other = evaluated(1.0), evaluated(1.1, seed=2)
    found = compare(one, other)
    change = one.summary.per_query["map_at_r"] - other.summary.per_query["map_at_r"]
    now, was = (each.summary.answers.right.astype(int) for each in (one, other))
    for way, classes in ((1, found.gained), (-1, found.lost)):
        assert classes
        for each in classes:
            mine = np.flatnonzero(each.label == LABELS)
            turned = (way * (now - was))[mine]
            assert each.changed
            assert len(each.changed) == min(2, (way * change[mine] > 0).sum())
            first = each.changed[0]
            assert first.row in mine
            assert way * (first.after - first.before) > 0
            assert way * (int(first.now.right) - int(first.was.right)) == turned.max()
            for query in each.changed:
                for neighbour, model in ((query.was, other), (query.now, one)):
                    unit = torch.nn.functional.normalize(model.embeddings.double(), dim=1)
                    similarity = unit @ unit[query.row]
                    similarity[query.row] = -2
                    assert neighbour.row == int(similarity.argmax())
                    assert neighbour.right == (LABELS[neighbour.row] == each.label)
                    assert neighbour.file_name == f"{neighbour.row}.png"


def test_labels_in_another_unicode_form_are_the_same() -> None:
    composed, decomposed = (
        replace(TABLE, frame=TABLE.frame.assign(label=[f"{letter}{label}" for label in LABELS]))
        for letter in ("\u00fc", "u\u0308")
    )
    a, b = (evaluate_embeddings("model", embeddings(1.0), table) for table in (composed, decomposed))
    assert compare(a, b).alike


def test_other_images_are_refused(tmp_path: Path) -> None:
    one = evaluated(1.0)
    with pytest.raises(DataError, match=r"needs the same images .* their images, labels or protocols differ"):
        compare(one, evaluate_embeddings("less", embeddings(1.0)[:-1], replace(TABLE, frame=TABLE.frame[:-1])))
    frame = TABLE.frame.assign(label=np.roll(LABELS, 1))
    with pytest.raises(DataError, match="labels or protocols differ"):
        compare(one, evaluate_embeddings("moved", embeddings(1.0), replace(TABLE, frame=frame)))
    cameras = [replace(TABLE, frame=TABLE.frame.assign(camera=np.arange(len(LABELS)) % n)) for n in (2, 3)]
    a, b = (evaluate_embeddings("a", embeddings(1.0), each, leave_out_same="camera") for each in cameras)
    with pytest.raises(DataError, match="labels or protocols differ"):
        compare(a, b)
    for name, extra in (("a", "1"), ("b", "2")):
        write_table(TABLE.frame.assign(extra=extra), tmp_path / f"{name}.csv", command="test", root=tmp_path)
    a, b = (Table(TABLE.frame, tmp_path, tmp_path / f"{name}.csv") for name in ("a", "b"))
    with pytest.raises(DataError, match="which differ"):
        compare(evaluate_embeddings("a", embeddings(1.0), a), evaluate_embeddings("b", embeddings(1.0), b))


def test_the_command_shows_intervals_slices_and_the_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    frame = TABLE.frame.assign(category=np.where(np.arange(len(LABELS)) % 12 < 6, "even", "odd"))
    for name, noise in (("good", 1.0), ("bad", 1.5)):
        write_embeddings(tmp_path / f"{name}.npz", embeddings(noise), frame)
    for name in frame["file_name"]:
        (tmp_path / name).touch()
    write_table(frame, tmp_path / "table.csv", command="test", root=tmp_path)
    good, bad, table = (str(tmp_path / name) for name in ("good.npz", "bad.npz", "table.csv"))
    monkeypatch.chdir(tmp_path)
    asked = ["evaluate", good, "--against", bad, "--data", table, "--slice", "category", "--out", "out", "--json"]
    assert main(asked) == 0
    [told] = json.loads(capsys.readouterr().out)["evaluations"]
    assert main(asked[:-1]) == 0
    shown = capsys.readouterr().out
    assert told == json.loads((tmp_path / "out/table/metrics.json").read_text())
    low, high = told["intervals"]["map_at_r"]
    assert low < told["metrics"]["map_at_r"] < high
    assert f"{told['metrics']['map_at_r']:.3f} ({low:.2f}–{high:.2f})" in shown
    assert {row["name"] for row in told["slices"][-1]["rows"]} == {"even", "odd"}
    assert "by category" in shown
    assert told["comparison"]["rows"][0]["verdict"] == "better"
    assert f"{good} is better than {bad}" in shown
    assert main(["evaluate", good, "--data", table, "--slice", "brand", "--out", "out"]) == 2
    assert "no column 'brand' to slice by" in capsys.readouterr().err
