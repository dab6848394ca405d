"""Counts are those of a comparison of every entry with every limit, in whichever way a row is counted."""

import numpy as np
import pytest
import torch

from eml.retrieval import counting
from eml.retrieval.counting import count_equal_before, count_reached, count_true, positions_of_true
from eml.retrieval.positive_counts import _count_on_device


def drawn(width: int, number: int, levels: int, dtype: type = np.float32) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a tile with many equal entries and some −inf, limits of which many are entries, and how many there are."""
    random = np.random.default_rng(width + number + levels)
    tile = np.round(random.normal(size=(30, width)) * levels).astype(dtype) / levels
    tile[:, :3] = -np.inf
    tile[5] = tile[5, 4]
    limits = -np.sort(-np.round(random.normal(size=(30, number)) * levels).astype(dtype) / levels, axis=1)
    counts = random.integers(0, number + 1, 30)
    limits[np.arange(number) >= counts[:, None]] = -np.inf
    return tile, limits, counts


@pytest.mark.parametrize("width, number", [(64, 1), (64, 7), (64, 30), (63, 5), (8, 40), (2048, 3)])
@pytest.mark.parametrize("passes, crowded", [(20, 8), (0, 1), (2, 1000), (1000, 8)])
def test_counts_do_not_depend_on_the_way(
    width: int, number: int, passes: int, crowded: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "PASSES", passes)
    monkeypatch.setattr(counting, "CROWDED", crowded)
    monkeypatch.setattr(counting, "CACHED", 7)
    for levels, dtype in ((3, np.float32), (1000, np.float64)):
        tile, limits, counts = drawn(width, number, levels, dtype)
        expected = (tile[:, None] >= limits[:, :, None]).sum(2)
        present = limits > -np.inf
        for rare in (np.zeros(30, np.int64), counts, counts // 2, np.minimum(counts, 1)):
            before = rare.copy()
            assert np.array_equal(count_reached(tile, limits, rare)[present], expected[present])
            assert np.array_equal(rare, before)
        on_device = _count_on_device(torch.from_numpy(tile), torch.from_numpy(limits)).numpy()
        assert np.array_equal(on_device[present], expected[present])


def test_equal_entries_before_a_column_are_counted() -> None:
    tile = np.array([[1, 2, 1, 1, 0, 1, 3, 1], [4, 4, 4, 4, 4, 4, 4, 4]], np.float32)
    rows, stops = np.array([0, 0, 0, 1, 1]), np.array([3, 8, 8, 5, -2])
    values = np.array([1, 1, 7, 4, 4], np.float32)
    assert count_equal_before(tile, values, rows, stops).tolist() == [2, 5, 0, 5, 0]


@pytest.mark.parametrize("width", [1, 8, 30, 64, 2048])
def test_flags_are_counted_and_found(width: int) -> None:
    flags = np.random.default_rng(0).random((11, width)) < 0.3
    flags[3], flags[4] = True, False
    assert count_true(flags).tolist() == flags.sum(1).tolist()
    assert count_true(flags[:, ::2]).tolist() == flags[:, ::2].sum(1).tolist()
    assert positions_of_true(flags).tolist() == np.flatnonzero(flags).tolist()
