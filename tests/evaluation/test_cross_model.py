"""Queries of one model on the gallery of another."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eml.commands.evaluate import evaluate
from eml.errors import ConfigError, DataError
from eml.evaluation.evaluate import rank_gallery
from eml.evaluation.options import EvaluationOptions
from eml.evaluation.retrieval_set import RetrievalSet
from eml.evaluation.runs import EvaluationResult, evaluate_models

CLASSES, SIZE = 12, 8
LABELS = np.repeat([f"class {number}" for number in range(CLASSES)], 5)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Embeddings by an old model, by a better one in the same space, and by one in a space of its own."""
    random = np.random.default_rng(0)
    centers, elsewhere = (random.normal(size=(CLASSES, SIZE))[np.repeat(np.arange(CLASSES), 5)] for _ in range(2))
    noise = {
        "old": (centers, 1.0),
        "new": (centers, 0.4),
        "unrelated": (elsewhere, 0.4),
        "small": (centers[:, :4], 1.0),
    }
    folder, paths = tmp_path_factory.mktemp("models"), {}
    for name, (means, spread) in noise.items():
        paths[name] = str(folder / f"{name}.npz")
        np.savez(paths[name], embeddings=means + spread * random.normal(size=means.shape), label=LABELS)
    return paths


def measure(files: dict[str, str], name: str, out: Path, **more: Any) -> EvaluationResult:
    options = EvaluationOptions([files[name]], gallery_model=files["old"], out=out, **more)
    return evaluate_models(options).results[0]


def test_each_query_is_compared_with_the_gallery_of_the_other_model(files: dict[str, str], tmp_path: Path) -> None:
    result = measure(files, "new", tmp_path, verification=True)
    old, new = (np.load(files[name])["embeddings"] for name in ("old", "new"))
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (new, old)]
    cosine = unit[0] @ unit[1].T
    np.fill_diagonal(cosine, -np.inf)
    right = LABELS[cosine.argmax(1)] == LABELS
    evaluation, cross_model = result.analysis.evaluation, result.analysis.cross_model
    assert cross_model is not None
    assert result.metrics["recall_at_1"] == pytest.approx(right.mean())
    assert np.array_equal(evaluation.summary.answers.right, right)
    assert cross_model.mean_cosine == pytest.approx((unit[0] * unit[1]).sum(1).mean(), abs=1e-6)
    assert result.analysis.verification["same_pairs"] == CLASSES * 5 * 4
    alone = {
        name: evaluate_models(EvaluationOptions([files[name]], out=tmp_path)).results[0] for name in ("old", "new")
    }
    assert cross_model.old == alone["old"].metrics
    assert cross_model.new == alone["new"].metrics
    assert cross_model.verdict == "better"
    assert result.analysis.comparison is not None
    assert result.analysis.comparison.against == files["old"]
    assert "improves with the queries of" in cross_model.lines("new", "old")[0]


def test_results_name_both_models_and_are_beside_those_of_the_model_alone(
    files: dict[str, str], tmp_path: Path
) -> None:
    result = evaluate(checkpoints=[files["new"]], gallery_model=files["old"], out=tmp_path)
    facts = json.loads((tmp_path / "embeddings-on-old" / "metrics.json").read_text())
    assert (facts["checkpoint"], facts["gallery_model"]["checkpoint"]) == (files["new"], files["old"])
    assert facts["cross_model"]["rows"][0]["crossed"] == facts["metrics"]["recall_at_1"]
    assert facts["alone"]["recall_at_1"] > facts["gallery_model"]["metrics"]["recall_at_1"]
    page = (tmp_path / "embeddings-on-old" / "report.html").read_text()
    assert "Across models" in page
    assert "Map of the embeddings" not in page
    assert result.next_command is None


def test_models_of_unrelated_spaces_are_near_chance_and_said_to_be_unrelated(
    files: dict[str, str], tmp_path: Path
) -> None:
    result = measure(files, "unrelated", tmp_path, rerank=3)
    cross_model = result.analysis.cross_model
    assert cross_model is not None
    assert cross_model.verdict == "worse"
    assert result.metrics["map_at_r"] < 0.2 < cross_model.new["map_at_r"]
    (line, *_) = cross_model.lines("new", "old")
    assert "unrelated spaces" in line
    assert "Where this one was trained so and does not" in line
    assert len(result.analysis.postprocessed) == 1


def test_embeddings_of_another_size_are_refused_with_what_to_do(files: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"model\.neck of size 8") as caught:
        measure(files, "small", tmp_path)
    assert (caught.value.code, caught.value.parameter) == ("wrong-shape", "gallery_model")


def test_options_of_one_model_are_refused_with_a_gallery_of_another(files: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        measure(files, "new", tmp_path, against=files["old"], clustering=True, save_embeddings=True)
    assert {(problem.code, problem.parameter) for problem in caught.value.problems} == {
        ("conflicting-settings", name) for name in ("against", "clustering", "save_embeddings")
    }


def test_groups_and_parts_hold_for_a_gallery_of_another_model() -> None:
    import pandas as pd

    frame = pd.DataFrame({"label": ["a", "a", "b", "b"]})
    labels, everything = np.array([0, 0, 1, 1]), np.arange(4)
    parts = RetrievalSet(frame, labels, everything, everything, "leave-one-out", within=np.array([0, 1, 0, 1]))
    queries, gallery = torch.eye(4), torch.eye(4).flip(0)  # each query is nearest to the image at the other end
    (first, second) = rank_gallery(queries, parts, gallery_embeddings=gallery)
    assert first.nearest.tolist() == [2, 0]
    assert second.nearest.tolist() == [3, 1]
