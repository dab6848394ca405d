"""The worst classes are those of the lowest mean, whatever number a class has."""

import numpy as np
import pytest
import torch

from eml.retrieval.metrics import summarise
from eml.retrieval.ranking import rank
from eml.retrieval.worst_classes import WorstClass, worst_classes


def worst_of(rows: torch.Tensor, names: list[str], most: int = 20) -> list[WorstClass]:
    labels = 7 * np.unique(names, return_inverse=True)[1] + 3
    everything = np.arange(len(names))
    return worst_classes(summarise(rank(rows, labels)), labels, names, everything, everything, most)


def test_the_worst_come_first_with_what_they_are_taken_for() -> None:
    angles = torch.tensor([0.0, 0.1, 1.0, 2.0, 1.01, 2.01])  # each of b beside one of c
    worst = worst_of(torch.stack([angles.cos(), angles.sin()], 1), list("aabbcc"))
    assert [(each.label, each.queries, each.values["map_at_r"]) for each in worst] == [
        ("b", 2, 0),
        ("c", 2, 0),
        ("a", 2, 1),
    ]
    assert [(each.taken_for, each.times) for each in worst] == [("c", 2), ("b", 2), (None, 0)]


def test_of_equal_classes_the_larger_comes_first() -> None:
    rows = torch.eye(3)[torch.tensor([0, 0, 1, 1, 1, 2, 2])]
    assert [each.label for each in worst_of(rows, list("aabbbcc"))] == ["b", "a", "c"]
    assert [each.label for each in worst_of(rows, list("aabbbcc"), most=2)] == ["b", "a"]


def test_means_are_those_of_the_queries_of_the_class() -> None:
    random = np.random.default_rng(0)
    names = [f"c{label}" for label in random.integers(0, 12, 80)] + ["alone"]
    rows = torch.from_numpy(random.standard_normal((81, 6)).astype(np.float32))
    labels = np.unique(names, return_inverse=True)[1]
    per_query = summarise(rank(rows, labels)).per_query
    worst = worst_of(rows, names)
    assert {each.label for each in worst} == set(names) - {"alone"}
    for each in worst:
        mine = np.array(names) == each.label
        assert each.queries == mine.sum()
        assert each.values == {name: pytest.approx(values[mine].mean()) for name, values in per_query.items()}
    values = [each.values["map_at_r"] for each in worst]
    assert values == sorted(values)
