"""Metrics by kind of query equal those of the queries picked by hand."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from eml.dataset.table import Table
from eml.errors import DataError
from eml.evaluation.evaluate import Evaluation, evaluate_embeddings
from eml.evaluation.slices import (
    Slices,
    by_bins,
    by_column,
    check_columns,
    measure_slices,
    near_duplicates,
    partition,
)

SIZES = (1, 2, 2, 3, 5, 6, 12)


def table(**columns: object) -> Table:
    labels = np.repeat([f"c{index}" for index in range(len(SIZES))], SIZES)
    names = [f"{index}.png" for index in range(len(labels))]
    return Table(pd.DataFrame({"label": labels, "file_name": names} | columns), Path("/nowhere"))


def evaluated(of: Table, seed: int = 0) -> Evaluation:
    rows = torch.randn(len(of.frame), 4, generator=torch.Generator().manual_seed(seed))
    return evaluate_embeddings("m", rows, of)


def slices_of(evaluation: Evaluation, columns: Sequence[str] = ()) -> Slices:
    division = partition(evaluation.table, evaluation.retrieval, columns)
    return measure_slices(division, evaluation.retrieval, evaluation.summary)


def gap_of(found: Evaluation, mine: np.ndarray) -> float:
    """Of the queries `mine` (Q,) alone, by the definition; equal similarities are one step."""
    answers = found.summary.answers
    precisions = []
    for place in np.flatnonzero(mine & answers.right):
        surer = mine & (answers.similarity >= answers.similarity[place])
        precisions.append(answers.right[surer].mean())
    return sum(precisions) / (answers.has_positive & mine).sum()


def test_gap_of_a_slice_counts_queries_without_a_positive_as_wrong() -> None:
    found = evaluated(table(category=list("ab" * 15 + "a")))  # c0, which is single, is of a
    slices = {each.name: each for each in slices_of(found).slices["category"]}
    for name, queries in (("a", 15), ("b", 15)):
        mine = found.retrieval.frame["category"].to_numpy() == name
        each = slices[name]
        assert each.queries == queries
        assert mine.sum() == queries + (name == "a")
        assert each.values["global_average_precision"] == pytest.approx(gap_of(found, mine))
        interval = each.intervals["global_average_precision"]
        assert interval.low < each.values["global_average_precision"] < interval.high


def test_slices_by_class_size_are_means_of_their_queries() -> None:
    found = evaluated(table())
    slices = slices_of(found).slices["class size"]
    assert [(each.name, each.queries, each.classes) for each in slices] == [
        ("2", 4, 2),
        ("3–5", 8, 2),
        ("6–10", 6, 1),
        ("11–20", 12, 1),
    ]
    for each, labels in zip(slices, (["c1", "c2"], ["c3", "c4"], ["c5"], ["c6"]), strict=True):
        mine = found.retrieval.frame["label"].isin(labels).to_numpy()
        assert list(each.values) == list(found.summary.values)
        for name, values in found.summary.per_query.items():
            assert each.values[name] == pytest.approx(values[mine].mean())
        assert each.values["global_average_precision"] == pytest.approx(gap_of(found, mine))
        assert set(each.intervals) == (set(each.values) if len(labels) > 1 else set())
        for name, interval in each.intervals.items():
            assert interval.low <= each.values[name] <= interval.high


def test_all_slices_of_a_column_together_are_the_metric() -> None:
    found = evaluated(table(category=list("ab" * 15 + "c"), brand=["x"] * 31))
    slices = slices_of(found, ["brand"])
    parts = slices.slices["category"]
    total = sum(each.queries * each.values["map_at_r"] for each in parts) / sum(each.queries for each in parts)
    assert total == pytest.approx(found.summary.values["map_at_r"])
    assert slices.left_out["brand"] == "all counted queries are in one part: x"
    assert slices.left_out["shorter side"] == "the table has no width and height"
    assert "has no column 'hash'" in slices.left_out["near-duplicates"]


def test_columns_are_cut_by_value_by_frequency_or_by_quantile() -> None:
    numbers = by_column("n", pd.Series([str(each) for each in range(100)] + [""]))
    assert numbers.names == ["0–19", "20–39", "40–59", "60–79", "80–99", "(blank)"]
    assert np.bincount(numbers.of).tolist() == [20, 20, 20, 20, 20, 1]
    assert by_column("n", pd.Series([7.5, 7.5, 2.0, np.nan])).names == ["2.0", "7.5", "(blank)"]
    for names in (["007", "7", "07"], ["1e5", "100000"], ["9007199254740993", "9007199254740992"]):
        assert sorted(by_column("id", pd.Series(names)).names) == sorted(names)
    padded = by_column("id", pd.Series([f"{each:03}" for each in range(30)]))
    assert padded.names[-1] == "10 others"
    close = by_column("n", pd.Series(1 + 1e-9 * np.arange(100)))
    assert len(set(close.names)) == 5
    assert by_column("t", pd.Series(["(blank)", "", "x"])).names == ["(blank)", "x", "(empty cells)"]
    skewed = by_column("n", pd.Series([0] * 900 + list(range(1, 101))))
    assert skewed.names == ["0", "1–100"]
    text = by_column("t", pd.Series([f"v{each:02}" for each in range(30)] + ["v29"] * 3))
    assert text.names == ["v29", *(f"v{each:02}" for each in range(19)), "10 others"]
    assert (text.of == 20).sum() == 10
    bins = by_bins("b", np.array([0, 1, 2, 3, 9]), (1, 2, 4))
    assert (bins.names, bins.of.tolist()) == (["1", "2–3", "4+"], [-1, 0, 1, 1, 2])


def test_a_missing_column_is_named() -> None:
    with pytest.raises(DataError, match=r"no column 'brand' to slice by; it has label, file_name"):
        check_columns(table(), ["brand", "label"])


@pytest.mark.filterwarnings("default")
def test_near_duplicates_are_those_of_the_class_in_the_gallery() -> None:
    far = [f"{bits:016x}" for bits in np.random.default_rng(0).integers(2**62, size=31)]
    far[1], far[2] = "0" * 16, "0" * 15 + "7"  # class c1, 3 bits apart; the files are not there, so that hashes decide
    far[3] = "0" * 15 + "1"  # near both, of another class
    far[5], far[6], far[7] = "f" * 16, "f" * 16, "f" * 15 + "e"  # class c3
    found = evaluated(table(hash=far))
    assert np.flatnonzero(near_duplicates(found.table, found.retrieval)).tolist() == [1, 2, 5, 6, 7]
    queries = np.isin(np.arange(31), [1, 5, 6, 9])
    apart = evaluated(table(hash=far, is_query=queries, is_gallery=np.isin(np.arange(31), [3, 5, 7, 8, 10])))
    near = near_duplicates(apart.table, apart.retrieval)
    assert dict(zip(apart.retrieval.frame["file_name"].iloc[apart.retrieval.queries], near, strict=True)) == {
        "1.png": False,
        "5.png": True,
        "6.png": True,
        "9.png": False,
    }


def test_the_worst_classes_of_metrics_json() -> None:
    found = evaluated(table())
    slices = slices_of(found)
    told = slices.facts()["worst_classes"]
    assert [each["map_at_r"] for each in told] == [each.values["map_at_r"] for each in slices.worst]
    assert list(told[0]) == ["label", "queries", "map_at_r", "recall_at_1", "confused_with", "times"]
