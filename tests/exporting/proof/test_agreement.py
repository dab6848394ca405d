"""Two arrays of embeddings are compared as a loop over images would do it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from eml.dataset.table import Table
from eml.evaluation.evaluate import evaluate_embeddings
from eml.evaluation.retrieval_set import RetrievalSet
from eml.exporting.proof.agreement import compare_embeddings, largest_difference, shape_problem
from eml.exporting.proof.images import ProofImages

CLASSES, EACH = 24, 4
LABELS = np.repeat([f"c{label:02}" for label in range(CLASSES)], EACH)
TABLE = Table(pd.DataFrame({"label": LABELS, "file_name": [f"{n}.png" for n in range(len(LABELS))]}), Path("/nowhere"))
RETRIEVAL: RetrievalSet = ProofImages(TABLE, TABLE.frame, "a test").retrieval()


def embeddings(noise: float = 0.5, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, 12, generator=torch.Generator().manual_seed(1)).repeat_interleave(EACH, 0)
    return torch.nn.functional.normalize(centres + noise * torch.randn(len(LABELS), 12, generator=random))


def test_cosines_distances_and_neighbours_are_those_of_a_loop() -> None:
    before, after = embeddings(), 2 * embeddings(0.6, seed=3)
    agreement = compare_embeddings(before, after, RETRIEVAL)
    a, b = before.double().numpy(), after.double().numpy()
    a, b = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (a, b))
    np.testing.assert_allclose(agreement.cosine, [x @ y for x, y in zip(a, b, strict=True)])
    np.testing.assert_allclose(agreement.difference, [np.linalg.norm(x - y) for x, y in zip(a, b, strict=True)])
    np.testing.assert_allclose(agreement.lengths, 2, rtol=1e-6)
    pairs = [np.linalg.norm(a[i] - a[j]) for i in range(len(a)) for j in range(i)]
    assert agreement.typical_distance == pytest.approx(np.median(pairs), rel=0.01)
    nearest = [[set(sorted(set(range(len(e))) - {i}, key=lambda j: -(e[i] @ e[j]))[:10]) for i in range(len(e))]
               for e in (a, b)]  # fmt: skip
    np.testing.assert_allclose(agreement.top_10, [len(x & y) / 10 for x, y in zip(*nearest, strict=True)])


def test_metrics_are_those_of_an_evaluation_with_the_paired_interval() -> None:
    before, after = embeddings(), embeddings(1.0, seed=3)
    metric = compare_embeddings(before, after, RETRIEVAL).metrics["map_at_r"]
    measured = [evaluate_embeddings("x", rows, TABLE).summary.values["map_at_r"] for rows in (before, after)]
    assert [metric.reference, metric.exported] == pytest.approx(measured)
    assert metric.low is not None
    assert metric.high is not None
    assert metric.low < metric.difference < metric.high < 0
    assert 0 < metric.chance < 0.1 < metric.exported


def test_equal_embeddings_change_no_query() -> None:
    agreement = compare_embeddings(embeddings(), embeddings(), RETRIEVAL)
    assert agreement.cosine.min() == pytest.approx(1)
    assert agreement.top_10.min() == 1
    metric = agreement.metrics["map_at_r"]
    assert (metric.alike, metric.low, metric.high) == (True, None, None)


def test_what_cannot_be_compared_is_said() -> None:
    good = embeddings()
    assert shape_problem(good, good * 3) == ""
    assert "(96, 5), and the checkpoint (96, 12)" in shape_problem(good, good[:, :5])
    broken = good.clone()
    broken[3, 1] = torch.inf
    assert "1 of 96 embeddings hold NaN" in shape_problem(good, broken)
    broken[3] = 0
    assert "1 of 96 embeddings are zero" in shape_problem(good, broken)


def test_the_largest_difference_is_of_unit_vectors() -> None:
    cosine, difference = largest_difference(torch.eye(2), torch.tensor([[3.0, 0.0], [4.0, 3.0]]))
    assert (cosine, difference) == pytest.approx((0.6, np.sqrt(0.8)))
