import math

import numpy as np
import pytest
import torch

from eml.head.modes import Sampled
from eml.head.sampling import draw_active_classes, log_weights, sample_classes
from eml.head.shards import Shard
from tests.head.heads import SIZE


def test_a_sample_holds_all_positives_and_every_other_class_as_often() -> None:
    positives = torch.tensor([0, 5, 6, 99])
    counts = torch.zeros(100)
    for seed in range(2000):
        ids = sample_classes(100, positives, 0.2, seed)
        assert len(ids) == 20
        assert (ids.diff() > 0).all()
        counts[ids] += 1
    assert (counts[positives] == 2000).all()
    others = counts[torch.isin(torch.arange(100), positives, invert=True)]
    assert abs(others.mean().item() - 2000 * 16 / 96) < 1e-3
    assert others.std().item() < 30  # a binomial's is 16.7
    assert sample_classes(100, torch.arange(50), 0.2, 0).tolist() == list(range(50))


@pytest.mark.wide
@pytest.mark.slow
def test_parts_of_a_sample_are_those_of_the_whole_and_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eml.head.sampling.BLOCK", 16)
    positives = torch.tensor([0, 15, 16, 17, 18, 99])
    counts, pairs = torch.zeros(100), torch.zeros(4000)
    for seed in range(4000):
        ids = sample_classes(100, positives, 0.2, seed)
        parts = [
            sample_classes(100, positives, 0.2, seed, start, stop) for start, stop in ((0, 33), (33, 34), (34, 100))
        ]
        assert torch.equal(torch.cat(parts), ids)
        assert len(ids) == 20
        counts[ids] += 1
        pairs[seed] = torch.isin(torch.tensor([20, 21, 40, 60, 80]), ids).sum()
    others = counts[torch.isin(torch.arange(100), positives, invert=True)]
    chance, many = 14 / 94, 5
    assert others.std().item() < 1.5 * math.sqrt(4000 * chance * (1 - chance))
    hypergeometric = many * chance * (1 - chance) * (94 - many) / 93  # of how many of five classes are in a sample
    assert pairs.var().item() == pytest.approx(hypergeometric, rel=0.1)


def test_one_process_samples_its_shard_as_it_does_the_whole_and_shards_do_not_sample_alike() -> None:
    positives = torch.tensor([4, 50])
    for correction in (False, True):
        whole, shard = (
            draw_active_classes(
                Sampled(fraction=0.2, sample=spec, correction=correction),
                Shard.whole(100),
                torch.zeros(100, SIZE, dtype=torch.float64),
                [positives],
                7,
                None,
            )
            for spec in ("whole", "shard")
        )
        assert whole.ids.tolist() == shard.ids.tolist()
        assert (whole.compared, whole.count) == (shard.compared, shard.count) == (20, 100 if correction else 20)
    same = [len(set(each) & set(other)) for each, other in (two_samples(seed) for seed in range(400))]
    assert np.mean(same) == pytest.approx(20 * 20 / 100, abs=0.4)  # hypergeometric, deviation 1.6 of one, 0.08 of 400


def two_samples(seed: int) -> tuple[list[int], list[int]]:
    first, second = (sample_classes(100, torch.tensor([], dtype=torch.int64), 0.2, seed, key=key) for key in (0, 100))
    return first.tolist(), second.tolist()


def test_the_correction_makes_the_sum_over_sampled_classes_unbiased() -> None:
    torch.manual_seed(0)
    z, positives = torch.randn(100, dtype=torch.float64).exp(), torch.tensor([4, 50])
    sums = []
    for seed in range(4000):
        ids = sample_classes(100, positives, 0.2, seed)
        sums.append((z[ids] * log_weights(100, 20, ids, positives, torch.float64).exp()).sum())
    assert torch.stack(sums).mean().item() == pytest.approx(z.sum().item(), rel=0.01)
