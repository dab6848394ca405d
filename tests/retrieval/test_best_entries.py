"""The highest entries over tiles are those of one sort of all."""

import numpy as np
import pytest
import torch

from eml.retrieval import best_entries
from eml.retrieval.best_entries import BestEntries


@pytest.mark.parametrize("order", ["random", "rising", "falling"])
@pytest.mark.parametrize("count, width, room", [(5, 16, 4), (20, 16, 3), (1, 8, 128), (200, 16, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_highest_entries_over_tiles_are_those_of_all(
    order: str, count: int, width: int, room: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(best_entries, "ROOM", room)
    entries = torch.from_numpy(np.random.default_rng(count).integers(-60, 60, (9, 130))).to(dtype)  # many are equal
    if order != "random":
        entries = entries.sort(1, descending=order == "falling")[0]
    entries[4] = 3
    entries[:, 7] = -torch.inf
    found = BestEntries(9, count, dtype, torch.device("cpu"))
    for part in torch.arange(130).split(width):
        found.add(1000 + part, entries[:, part].clone())
    values, numbers = found.best()
    assert torch.equal(values, entries.sort(1, descending=True)[0][:, :count])
    assert torch.equal(entries.gather(1, numbers - 1000), values)
    assert all(len(set(row.tolist())) == min(count, 130) for row in numbers)
