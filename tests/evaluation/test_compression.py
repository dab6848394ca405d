"""Ways to compress embeddings are measured as a loop measures them, and the smallest loses no more than is allowed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from eml.dataset.table import Table
from eml.evaluation import compression
from eml.evaluation.compression import build_choices, measure_choices, smallest, unbeaten
from eml.evaluation.evaluate import Evaluation, evaluate_embeddings


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(25), 6)
    rows = random.standard_normal((25, 64))[labels] + 1.5 * random.standard_normal((150, 64)) + 0.5
    frame = pd.DataFrame({"label": labels.astype(str), "file_name": [f"{row}.jpg" for row in range(150)]})
    return evaluate_embeddings("made", torch.from_numpy(rows).float(), Table(frame, Path()))


@pytest.fixture(scope="module")
def measured(evaluation: Evaluation) -> list[compression.MeasuredChoice]:
    patch = pytest.MonkeyPatch()
    patch.setattr(compression, "TIMED_VALUES", 70_000)  # a second per way is for real sets
    try:
        fit = torch.randn(90, 64, generator=torch.Generator().manual_seed(0)) + 0.5
        return measure_choices(evaluation, build_choices(fit, "fit.csv"))
    finally:
        patch.undo()


def map_at_r(order: np.ndarray, labels: np.ndarray) -> float:
    """Return MAP@R of an order (Q, N) of the images for each query, without the query itself."""
    values = []
    for query, places in enumerate(order):
        right = labels[[place for place in places if place != query]] == labels[query]
        count = int(right.sum())
        values.append(sum(right[: rank + 1].mean() for rank in range(count) if right[rank]) / count)
    return float(np.mean(values))


def test_every_way_has_the_map_at_r_of_a_loop(
    evaluation: Evaluation, measured: list[compression.MeasuredChoice]
) -> None:
    labels = evaluation.retrieval.labels
    unit = torch.nn.functional.normalize(evaluation.embeddings)
    names = [way.choice.name for way in measured]
    assert len(set(names)) == len(names)
    assert {"float32", "binary", "binary-reranked", "truncation-16-float16", "pca-32-int8", "whitening-32-int8"} <= set(
        names
    )
    for way in measured:
        if way.choice.reranked or way.choice.name == "pca-32-binary":
            continue  # the next test; and 1/√32 is no float, so that rounding orders what is equal by its bits
        stored = way.choice.compression.apply(unit).double().numpy()
        stored /= np.linalg.norm(stored, axis=1, keepdims=True)
        scores = np.round(stored @ stored.T, 6)  # of bits, many are equal: these go by the order of the table
        np.fill_diagonal(scores, -np.inf)
        assert way.value == pytest.approx(map_at_r(np.argsort(-scores, axis=1, kind="stable"), labels), abs=1e-3), way
        assert way.interval.low <= way.value <= way.interval.high


def test_the_nearest_by_bits_are_ranked_by_the_exact_numbers_and_stay_before_the_others() -> None:
    random = np.random.default_rng(0)
    first, second = random.standard_normal((2, 60, 8))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    labels, itself = np.repeat(np.arange(12), 5), np.arange(60)
    rows = torch.from_numpy(np.hstack([first, second])).float()
    rankings = list(compression.rank_twice(rows, labels, rows, labels, itself=itself))
    ranks: dict[int, list[int]] = {}
    for ranking in rankings:
        for query, part in zip(
            ranking.queries, np.split(ranking.ranks, np.cumsum(ranking.positives)[:-1]), strict=True
        ):
            ranks[int(query)] = part.tolist()
    for query in range(60):
        coarse, exact = (part @ part[query] / np.linalg.norm(part, axis=1) for part in (first, second))
        others = np.array([place for place in range(60) if place != query])
        order = others[np.argsort(-coarse[others])]
        listed = order[:10]
        order = np.concatenate([listed[np.argsort(-exact[listed])], order[10:]])
        assert ranks[query] == [rank for rank, place in enumerate(order, 1) if labels[place] == labels[query]]


def test_bytes_are_those_of_the_numbers(measured: list[compression.MeasuredChoice]) -> None:
    found = {way.choice.name: (way.choice.bytes_per_image, way.choice.bytes_beside) for way in measured}
    assert found["float32"] == (256, 0)
    assert found["pca-32-float16"] == (64, 0)
    assert found["whitening-16-int8"] == (16, 0)
    assert found["pca-32-binary"] == (4, 0)
    assert found["pca-32-binary-reranked"] == (4, 64)


def test_comparing_again_helps_bits(measured: list[compression.MeasuredChoice]) -> None:
    value = {way.choice.name: way.value for way in measured}
    assert value["pca-32-binary-reranked"] > value["pca-32-binary"]


def test_the_smallest_surely_loses_no_more_than_is_allowed(measured: list[compression.MeasuredChoice]) -> None:
    assert smallest(measured, 1).choice.bytes_per_image == min(way.choice.bytes_per_image for way in measured)
    way = smallest(measured, 0.02)
    assert way.difference.interval.low >= -0.02 or way.difference.alike
    worse = [
        replace(way, difference=replace(way.difference, interval=replace(way.difference.interval, low=-1.0)))
        if way.choice.name != "float32"
        else way
        for way in measured
    ]
    assert smallest(worse, 0.02).choice.name in ("float32", "float16")  # the latter if no query changed


def test_ways_that_are_no_better_than_a_smaller_one_are_left_out(measured: list[compression.MeasuredChoice]) -> None:
    for reranked in (False, True):
        ways = [way for way in unbeaten(measured)[1:] if way.choice.reranked == reranked]
        sizes, values = [way.choice.bytes_per_image for way in ways], [way.value for way in ways]
        assert sizes == sorted(sizes, reverse=True)
        assert values == sorted(values, reverse=True)
        assert ways
