"""Which classes a step of mode sampled sees, and how their rows are updated."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eml.head.modes import Sampled
from eml.head.shards import Shard, part_of

BLOCK = 65_536  # classes drawn from at once; part of what a seed gives
ROWS = 16_384  # class weights updated at once where a step moves all of them


@dataclass(frozen=True)
class Sample:
    """The classes of a step that are here.

    ids: (n,) sorted. log_weights: (n,) of these where sums over classes are corrected, else None. compared: how many
    there are in all processes; count: how many these stand for, the sum of all weights.
    """

    ids: Tensor
    log_weights: Tensor | None
    compared: int
    count: int


def sample_of(
    mode: Sampled, shard: Shard, positives: Tensor, seed: int, classes: Tensor | None, dtype: torch.dtype
) -> Sample:
    """The sample of a step, from all classes or from each process's.

    positives: distinct and sorted. classes: to take instead of random ones, the same everywhere. dtype: of log_weights.
    """
    world, rank = (shard.world, shard.rank) if mode.sample == "shard" else (1, 0)
    bounds = torch.tensor([part_of(shard.num_classes, each, world)[0] for each in range(world)] + [shard.num_classes])
    parts, known = bounds.diff().tolist(), torch.searchsorted(positives.cpu(), bounds)
    positive, own = known.diff().tolist(), positives[known[rank] : known[rank + 1]]
    if classes is None:
        sizes = [sample_size(*each, mode.fraction) for each in zip(parts, positive, strict=True)]
        first = int(bounds[rank])
        start, stop = shard.start - first, shard.stop - first
        ids = first + sample_classes(parts[rank], own - first, mode.fraction, seed, start, stop, key=first)
    else:
        sizes = torch.searchsorted(classes.cpu(), bounds).diff().tolist()
        ids = classes[(classes >= shard.start) & (classes < shard.stop)]
    if not mode.correction:
        return Sample(ids, None, sum(sizes), sum(sizes))
    weights = log_weights(parts[rank], sizes[rank], ids, own, dtype)
    stands_for = [part if size > some else size for part, size, some in zip(parts, sizes, positive, strict=True)]
    return Sample(ids, weights, sum(sizes), sum(stands_for))


def sample_size(num_classes: int, positives: int, fraction: float) -> int:
    """n = ⌈fraction·C⌉, or as many as there are positives."""
    return min(num_classes, max(math.ceil(fraction * num_classes), positives))


def sample_classes(
    num_classes: int,
    positives: Tensor,
    fraction: float,
    seed: int,
    start: int = 0,
    stop: int | None = None,
    *,
    key: int = 0,
) -> Tensor:
    """The sorted ids in [start, stop) of a sample of `sample_size` classes: the positives, and others at random.

    An 2021, arXiv:2010.05222. positives: distinct and sorted. Drawn on the CPU, the same on every device, and block by
    block, so that a process that has a part of the classes draws only that part: first how many of each block, then
    which. stop: None for all. key: samples with the same seed and different keys are independent.
    """
    stop = num_classes if stop is None else stop
    wanted = sample_size(num_classes, len(positives), fraction)
    if wanted == num_classes:
        return torch.arange(start, stop, device=positives.device)
    known = positives.cpu().numpy()
    bounds = np.append(np.arange(0, num_classes, BLOCK), num_classes)
    free = np.diff(bounds) - np.diff(np.searchsorted(known, bounds))
    counts = _random(seed, key).multivariate_hypergeometric(free, wanted - len(known))
    drawn = [known]
    for block in range(start // BLOCK, -(-stop // BLOCK)):
        own = known[np.searchsorted(known, bounds[block]) : np.searchsorted(known, bounds[block + 1])] - bounds[block]
        # The r-th class that is no positive: r, and one more for each positive up to there.
        some = _random(seed, key, block).choice(free[block], counts[block], replace=False, shuffle=False)
        some += np.searchsorted(own - np.arange(len(own)), some, side="right")
        drawn.append(some + bounds[block])
    ids = np.sort(np.concatenate(drawn))
    inside = slice(*np.searchsorted(ids, [start, stop]))
    return torch.from_numpy(ids[inside]).to(positives.device)


def _random(seed: int, *keys: int) -> np.random.Generator:
    """A stream for each seed and keys; numpy takes a list [seed, 0] for the same as seed."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=keys))


def log_weights(num_classes: int, count: int, ids: Tensor, positives: Tensor, dtype: torch.dtype) -> Tensor:
    """(n,) −ln of the probability of each of these sampled classes to be there, 0 for the positives.

    num_classes, count, positives: of all that they were sampled from, how many, how many were sampled, and which had to
    be.
    """
    weights = torch.zeros(len(ids), dtype=dtype, device=ids.device)
    if count > len(positives):
        others = ~torch.isin(ids, positives)
        weights[others] = math.log((num_classes - len(positives)) / (count - len(positives)))
    return weights


def step_rows(
    mode: Sampled,
    weights: Tensor,
    state: dict[str, Tensor],
    touched: list[tuple[Tensor, Tensor]],
    learning_rate: float,
    weight_decay: float,
) -> None:
    """One step of the mode's optimizer, in place on (C, …) weights and its state.

    touched: (ids, gradient) of each sample drawn since the last step, several under gradient accumulation: they add up.
    """
    ids, gradient = touched[0]
    if len(touched) > 1:
        ids, places = torch.cat([each for each, _ in touched]).unique(return_inverse=True)
        gradient = weights.new_zeros(len(ids), *weights.shape[1:])
        gradient.index_add_(0, places, torch.cat([each for _, each in touched]))
    with torch.no_grad():
        if mode.unsampled == "frozen":
            rows, some = weights[ids], {name: each[ids] for name, each in state.items()}
            mode.optimizer.update(rows, gradient, some, learning_rate, weight_decay)
            weights.index_copy_(0, ids, rows)
            for name, each in some.items():
                state[name].index_copy_(0, ids, each)
            return
        for start in range(0, len(weights), ROWS):
            part = slice(start, start + ROWS)
            inside = (ids >= start) & (ids < start + ROWS)
            whole = torch.zeros_like(weights[part]).index_copy_(0, ids[inside] - start, gradient[inside])
            some = {name: each[part] for name, each in state.items()}
            mode.optimizer.update(weights[part], whole, some, learning_rate, weight_decay)
