"""Models on tables: results are typed, say what metrics.json says, and let go of the embeddings."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eml.errors import ConfigError, OutputError
from eml.evaluation.options import EvaluationOptions
from eml.evaluation.outputs import result_folders
from eml.evaluation.runs import EvaluationResult, evaluate_models


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Embeddings of two models."""
    names = []
    for name, noise in (("good", 0.1), ("bad", 3.0)):
        rows = np.repeat(np.eye(4, 8), 5, 0) + noise * np.random.default_rng(0).standard_normal((20, 8))
        names.append(str(tmp_path / f"{name}.npz"))
        np.savez(names[-1], embeddings=rows, label=np.repeat(["a", "b", "c", "d"], 5))
    return names


def test_results_say_what_the_files_say_and_hold_no_embeddings(files: list[str], tmp_path: Path) -> None:
    sizes = []

    def write_page(result: EvaluationResult) -> None:
        sizes.append(tuple(result.analysis.evaluation.embeddings.shape))
        result.page.write_text('<meta name="generator" content="eml 0">')

    options = EvaluationOptions(files, against=files[1], out=tmp_path / "out", save_embeddings=True, clustering=True)
    done = evaluate_models(options, write_page=write_page)
    assert sizes == [(20, 8), (20, 8)]
    assert [result.model for result in done.results] == files
    for result in done.results:
        assert [file.name for file in result.files] == ["metrics.json", "embeddings.npz", "report.html"]
        assert all(file.exists() for file in result.files)
        assert result.replaced == []
        assert json.loads(result.files[0].read_text()) == json.loads(json.dumps(result.facts()))
        evaluation = result.analysis.evaluation
        assert (len(evaluation.embeddings), evaluation.size) == (0, 8)
    assert [facts["standing"]["place"] for facts in done.facts()] == [1, 2]
    assert [result.facts()["comparison"]["alike"] for result in done.results] == [False, True]
    assert repr(done.results[0]).startswith(f"<EvaluationResult {files[0]} on embeddings: R@1 1.000, ")
    again = evaluate_models(options, write_page=write_page)
    assert [result.replaced for result in again.results] == [result.files for result in again.results]


def test_a_model_without_a_run_is_written_beside_the_run_that_it_is_compared_with(tmp_path: Path) -> None:
    run, other, alone = tmp_path / "run", tmp_path / "other", ["timm:test_resnet", "e.npz"]
    for folder in (run, other):
        (folder / "checkpoints").mkdir(parents=True)
        for file in ("config.json", "model.safetensors", "run.json"):
            (folder / file).write_text("{}")
    options = EvaluationOptions(["timm:test_resnet", str(run), str(other), "a/e.npz"])
    assert result_folders(options) == [
        run / "evaluations" / "timm-test_resnet",
        run / "evaluations",
        other / "evaluations",
        run / "evaluations" / "e",
    ]
    for models in (alone[:1], alone):
        with pytest.raises(
            ConfigError, match="timm:test_resnet has no run folder to write into; give a folder as `out`"
        ):
            result_folders(EvaluationOptions(models))


def test_one_model_has_no_leaderboard(files: list[str], tmp_path: Path) -> None:
    done = evaluate_models(EvaluationOptions(files[:1], out=tmp_path))
    assert done.leaderboards == {}
    assert "standing" not in done.results[0].facts()


def test_all_problems_of_the_options_are_told_at_once(tmp_path: Path) -> None:
    options = EvaluationOptions(
        ["runs/x", "timm:test_resnett"], pairs=tmp_path / "pairs.csv", verification=True, weights="gone.pt"
    )
    with pytest.raises(ConfigError) as caught:
        evaluate_models(options)
    problems = caught.value.problems
    assert [(problem.code, problem.parameter) for problem in problems] == [
        ("missing-key", "data"),
        ("conflicting-settings", "pairs"),
        ("unknown-choice", None),
        ("missing-file", "weights"),
    ]


def test_a_page_of_the_users_stops_the_work_before_it_begins(files: list[str], tmp_path: Path) -> None:
    page = tmp_path / "embeddings" / "report.html"
    page.parent.mkdir()
    page.write_text("mine")
    with pytest.raises(OutputError, match="was not written by eml") as caught:
        evaluate_models(EvaluationOptions(files[:1], out=tmp_path), write_page=lambda result: None)
    assert (caught.value.code, caught.value.parameter) == ("file-exists", "out")
    assert not (page.parent / "metrics.json").exists()
    evaluate_models(EvaluationOptions(files[:1], out=tmp_path))


def test_a_report_and_embeddings_of_an_earlier_evaluation_do_not_stay_beside_other_metrics(
    files: list[str], tmp_path: Path
) -> None:
    def write_page(result: EvaluationResult) -> None:
        result.page.write_text('<meta name="generator" content="eml 0">')

    def evaluate(name: str, **more: Any) -> EvaluationResult:
        shutil.copy(name, model)
        options = EvaluationOptions([str(model)], out=tmp_path / "out", **more)
        return evaluate_models(options, write_page=write_page if more else None).results[0]

    model = tmp_path / "model.npz"
    full = evaluate(files[0], save_embeddings=True)
    page, saved = full.folder / "report.html", full.folder / "embeddings.npz"
    assert evaluate(files[0]).removed == []
    assert page.exists(), "it is of the same metrics"
    assert saved.exists()
    assert evaluate(files[1]).removed == [page, saved]
    assert not page.exists()
    assert not saved.exists()
    evaluate(files[1], save_embeddings=True)
    page.write_text("the user's own")
    np.savez(saved, embeddings=np.eye(2))
    assert evaluate(files[0]).removed == []
    assert page.exists()
    assert saved.exists()


def test_embeddings_that_are_evaluated_are_never_removed(files: list[str], tmp_path: Path) -> None:
    rows = np.load(files[0])
    names = [f"{label}/{number}.png" for number, label in enumerate(rows["label"])]
    table = tmp_path / "test.csv"
    table.write_text("label,file_name\n" + "".join(f"{name[0]},{name}\n" for name in names))
    saved = tmp_path / "out" / "test" / "embeddings.npz"
    saved.parent.mkdir(parents=True)
    np.savez(saved, embeddings=rows["embeddings"], file_name=names, label=rows["label"])
    (saved.parent / "metrics.json").write_text('{"checkpoint": "another", "metrics": {}}')
    evaluate_models(EvaluationOptions([str(saved)], [table], out=tmp_path / "out"))
    assert saved.exists()
