"""Both models are timed in turns on one thread."""

import torch

from eml.exporting.proof.timing import LEAST_ROUNDS, repeated, time_both


def test_models_take_turns_on_one_thread() -> None:
    calls: list[tuple[str, int, int]] = []

    def embed(name: str, pixels: torch.Tensor) -> torch.Tensor:
        calls.append((name, len(pixels), torch.get_num_threads()))
        return pixels

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        pixels = torch.zeros(3, 3, 2, 2, dtype=torch.uint8)
        speeds = time_both(lambda part: embed("a", part), lambda part: embed("b", part), pixels, seconds=1e-9)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert calls == [("a", 1, 1), ("b", 1, 1)] * (LEAST_ROUNDS + 1) + [("a", 16, 1), ("b", 16, 1)] * (LEAST_ROUNDS + 1)
    assert [(speed.batch, speed.rounds) for speed in speeds] == [(1, LEAST_ROUNDS), (16, LEAST_ROUNDS)]
    assert time_both(lambda part: part, lambda part: part, pixels, seconds=0) == []


def test_pixels_are_repeated_from_the_beginning() -> None:
    pixels = torch.arange(3)[:, None]
    assert repeated(pixels, 5).flatten().tolist() == [0, 1, 2, 0, 1]
    assert repeated(pixels, 2).flatten().tolist() == [0, 1]
