"""Tiles of similarities hold each pair once, and equal vectors have equal cosines wherever they stand."""

import numpy as np
import pytest
import torch

from eml.errors import DataError
from eml.retrieval import similarity
from eml.retrieval.similarity import UnitRows, pair_similarities, pair_tiles, similarity_tiles, unit_length

ROWS = 3 * torch.randn(150, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("columns", [None, 40])
@pytest.mark.parametrize("positions", [None, np.arange(149, 20, -1)])
def test_tiles_side_by_side_are_the_whole_product(
    columns: int | None, positions: np.ndarray | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similarity, "BLOCK", 64)
    gallery = UnitRows(ROWS, "gallery")
    tiles = [
        (first, tile.clone())
        for first, tile in similarity_tiles(gallery[:9], gallery, positions=positions, columns=columns)
    ]
    assert [first for first, _ in tiles] == list(range(0, 150 if positions is None else 129, columns or 64))
    whole = torch.cat([tile for _, tile in tiles], 1)
    unit = unit_length(ROWS)
    chosen = unit if positions is None else unit[positions.copy()]
    torch.testing.assert_close(whole[:, : len(chosen)], unit[:9] @ chosen.T)
    assert (whole[:, len(chosen) :] == -torch.inf).all()


def test_copies_have_equal_cosines_to_the_last_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "BLOCK", 64)
    gallery = UnitRows(ROWS[:1].repeat(150, 1), "gallery")
    values = torch.cat([tile.clone() for _, tile in similarity_tiles(unit_length(ROWS[:9]), gallery)], 1)[:, :150]
    assert (values == values[:, :1]).all()


def test_pair_tiles_hold_every_two_rows_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "PAIR_ENTRIES", 1000)
    unit, count = unit_length(ROWS), torch.zeros(150, 150)
    for first, tile in pair_tiles(unit):
        torch.testing.assert_close(tile, unit[first : first + len(tile)] @ unit[first:].T)
        count[first : first + len(tile), first:] += torch.ones_like(tile).triu(1)
    assert torch.equal(count, torch.ones(150, 150).triu(1))


def test_listed_pairs_have_the_cosines_of_their_images() -> None:
    first, second = np.array([0, 7, 7]), np.array([1, 9, 7])
    expected = torch.nn.functional.cosine_similarity(ROWS[first], ROWS[second])
    np.testing.assert_allclose(pair_similarities(ROWS, first, second, chunk=2), expected, rtol=1e-5)
    assert len(pair_similarities(ROWS, first[:0], second[:0])) == 0


def test_embeddings_that_have_no_direction_are_refused_with_a_code() -> None:
    with pytest.raises(DataError, match="1 of 2 query embeddings are NaN, infinite or zero, first: row 1") as error:
        UnitRows(torch.tensor([[1.0, 0], [0, 0]]), "query")
    assert error.value.code == "invalid-embeddings"
    with pytest.raises(DataError, match=r"image embeddings must be \(N, D\), got \(3,\)") as error:
        unit_length(torch.ones(3))
    assert error.value.code == "wrong-shape"


@pytest.mark.parametrize("factor", [1e-36, 1e-20, 1e20, 1e37])
def test_vectors_whose_squares_leave_float32_are_brought_to_unit_length(factor: float) -> None:
    torch.testing.assert_close(unit_length(ROWS * factor), unit_length(ROWS), rtol=1e-5, atol=1e-6)
