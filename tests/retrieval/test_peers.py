"""Our metrics against those of other packages, where these are installed and define the same thing.

pip install pytorch-metric-learning open-metric-learning torchmetrics faiss-cpu, in an environment of their own, then
python -m pytest -m wide tests/retrieval/test_peers.py. Where definitions differ, the difference is what is tested.
"""

import warnings

import numpy as np
import pytest
import torch

from eml.retrieval.metrics import summarise
from eml.retrieval.metrics.recall_at_k import RecallAtK
from eml.retrieval.ranking import rank

pytestmark = [pytest.mark.wide, pytest.mark.filterwarnings("ignore")]


def sets():
    random = np.random.default_rng(0)
    rows = random.standard_normal((300, 8)).astype(np.float32)
    labels = random.integers(0, 40, 300)
    yield "random", rows, labels
    centres = random.standard_normal((40, 8))
    yield "clustered", (centres[labels] + 0.5 * rows).astype(np.float32), labels
    yield "one class", rows[:30], np.zeros(30, np.int64)
    yield "many singletons", rows, np.where(np.arange(300) < 150, labels, 100 + np.arange(300))
    yield "small", rows[:5], np.array([0, 0, 1, 1, 1])


SETS = [pytest.param(rows, labels, id=name) for name, rows, labels in sets()]


def unit(rows: np.ndarray) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.from_numpy(rows))


def hits(rows: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """(Q, Q−1) similarities in descending order, and whether each neighbour is a positive."""
    similarity = (unit(rows).double() @ unit(rows).double().T).fill_diagonal_(-torch.inf)
    values, order = similarity.sort(dim=1, descending=True, stable=True)
    told = torch.from_numpy(labels)
    return values[:, :-1], (told[order] == told.unsqueeze(1))[:, :-1]


@pytest.mark.parametrize("rows, labels", SETS)
def test_pytorch_metric_learning(rows: np.ndarray, labels: np.ndarray) -> None:
    """AccuracyCalculator leaves queries without a positive out too; its MRR and mAP take k as we take all."""
    module = pytest.importorskip("pytorch_metric_learning.utils.accuracy_calculator")
    names = ("precision_at_1", "mean_average_precision_at_r", "r_precision", "mean_average_precision")
    names += ("mean_reciprocal_rank",)
    calculator = module.AccuracyCalculator(include=names, k=len(rows) - 1, device=torch.device("cpu"))
    theirs = calculator.get_accuracy(unit(rows), torch.from_numpy(labels))
    ours = summarise(rank(unit(rows), labels)).values
    for mine, other in zip(
        ("recall_at_1", "map_at_r", "r_precision", "mean_average_precision", "mean_reciprocal_rank"),
        names,
        strict=True,
    ):
        assert ours[mine] == pytest.approx(theirs[other], abs=1e-6), mine


@pytest.mark.parametrize("rows, labels", SETS)
def test_open_metric_learning(rows: np.ndarray, labels: np.ndarray) -> None:
    """CMC is our R@K. Its mAP@k divides by the positives found within k, ours by all: equal at k = gallery.

    A query without a positive counts 1 there if nothing was retrieved, else 0; here it is left out.
    """
    metrics = pytest.importorskip("oml.functional.metrics")
    _, found = hits(rows, labels)
    has = found.any(1)
    tops, counts = list(found[has]), found[has].sum(1).tolist()
    ours = summarise(rank(unit(rows), labels), [RecallAtK(k=(1, 3, 10, 500))]).values
    for k, theirs in zip((1, 3, 10, 500), metrics.calc_cmc(tops, counts, top_k=(1, 3, 10, 500)), strict=True):
        assert ours[f"recall_at_{k}"] == pytest.approx(float(theirs.mean())), k
    [theirs] = metrics.calc_map(tops, counts, top_k=(found.shape[1],))
    ours = summarise(rank(unit(rows), labels)).values
    assert ours["mean_average_precision"] == pytest.approx(float(theirs.mean()), abs=1e-6)


@pytest.mark.parametrize("rows, labels", SETS)
def test_torchmetrics(rows: np.ndarray, labels: np.ndarray) -> None:
    """Its R-Precision, MAP and MRR per query, without the queries that have no positive (it counts them as 0)."""
    functional = pytest.importorskip("torchmetrics.functional.retrieval")
    values, found = hits(rows, labels)
    theirs: dict[str, list[float]] = {"r_precision": [], "mean_average_precision": [], "mean_reciprocal_rank": []}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for row, right in zip(values, found, strict=True):
            row = (row + 1) / 2  # it takes what is not above 0 for not retrieved
            if right.any():
                theirs["r_precision"].append(float(functional.retrieval_r_precision(row, right)))
                theirs["mean_average_precision"].append(float(functional.retrieval_average_precision(row, right)))
                theirs["mean_reciprocal_rank"].append(float(functional.retrieval_reciprocal_rank(row, right)))
    ours = summarise(rank(unit(rows), labels)).values
    for name, each in theirs.items():
        assert ours[name] == pytest.approx(np.mean(each), abs=1e-6), name


@pytest.mark.parametrize("rows, labels", SETS)
def test_scikit_learn(rows: np.ndarray, labels: np.ndarray) -> None:
    """average_precision_score of each query is its average precision; GAP is that of the answers, times a share.

    scikit-learn divides by the right answers, GAP by the queries that have a positive.
    """
    from sklearn.metrics import average_precision_score

    values, found = hits(rows, labels)
    each = [average_precision_score(right, row) for row, right in zip(values, found, strict=True) if right.any()]
    ours = summarise(rank(unit(rows).double(), labels))
    assert ours.values["mean_average_precision"] == pytest.approx(np.mean(each), abs=1e-6)
    right = found[:, 0].numpy()
    if right.any():
        share = right.sum() / found.any(1).sum()
        expected = average_precision_score(right, values[:, 0]) * float(share)
        assert ours.values["global_average_precision"] == pytest.approx(expected, abs=1e-6)
