"""Whether training helped."""

import numpy as np
import pytest

from eml.training.verdict import verdict


def test_an_interval_covers_its_difference_and_knows_chance_from_gain() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(40), 10)
    before = random.random(400)
    better = verdict("MAP@R", before, np.clip(before + 0.1 * random.random(400), 0, 1), labels)
    assert better.helped
    assert better.low < better.difference < better.high
    chance = verdict("MAP@R", before, random.permutation(before), labels)
    assert not chance.helped
    assert chance.high > 0
    worse = verdict("MAP@R", before, before - 0.2, labels)
    assert "Training made it worse" in worse.lines()[1]
    one = verdict("MAP@R", np.array([0.1, np.nan, 0.3]), np.array([0.2, 0.5, 0.5]), np.array([0, 0, 1]))
    assert one.difference == pytest.approx(0.15)
