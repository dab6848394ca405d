"""The next batch, fetched before its turn."""

from collections.abc import Generator

import pytest
import torch
from torch import Tensor

from eml.errors import DataError
from eml.training.ahead import AheadBatches
from tests.pretend_cuda import PretendCuda


def test_a_batch_is_fetched_once_into_pinned_memory_and_an_error_waits_for_its_turn() -> None:
    read = []

    def batches() -> Generator[tuple[Tensor, Tensor], None, None]:
        for number in range(2):
            read.append(number)
            yield torch.full((1, 3, 2, 2), number), torch.tensor([number])
        raise DataError("an image cannot be read", code="unreadable-image")

    with PretendCuda():
        ahead = AheadBatches(batches())
        pixels, rows = next(ahead)
        assert pixels.is_pinned()
        assert (int(pixels[0, 0, 0, 0]), rows.tolist(), read) == (0, [0], [0])
        ahead.fetch()
        ahead.fetch()
        assert read == [0, 1]
        assert next(ahead)[1].tolist() == [1]
        ahead.fetch()
        with pytest.raises(DataError):
            next(ahead)
        with pytest.raises(StopIteration):
            next(ahead)


def test_the_end_of_the_batches_waits_for_its_turn_too() -> None:
    with PretendCuda():
        ahead = AheadBatches(batch for batch in [(torch.zeros(1), torch.zeros(1))])
        next(ahead)
        ahead.fetch()
        assert list(ahead) == []


def test_batches_that_are_left_early_are_closed() -> None:
    closed = []

    def batches() -> Generator[tuple[Tensor, Tensor], None, None]:
        try:
            yield torch.zeros(1), torch.zeros(1)
        finally:
            closed.append(True)

    def epoch(ahead: AheadBatches) -> Generator[tuple[Tensor, Tensor], None, None]:
        yield from ahead

    with PretendCuda():
        ahead = AheadBatches(batches())
        coming = epoch(ahead)
        next(coming)
        coming.close()
    assert closed == [True]
