"""Which classes a step of mode `sampled` compares with."""

import math

import numpy as np
import torch
from torch import Tensor

from eml.devices import to_device
from eml.head.active_classes import ActiveClasses
from eml.head.modes import Sampled
from eml.head.shards import Shard, part_of

BLOCK = 65_536  # classes drawn from at once; changing it changes what a seed draws


def draw_active_classes(
    mode: Sampled,
    shard: Shard,
    class_weights: Tensor,
    labels: list[Tensor],
    seed: int,
    classes: Tensor | None,
    host_labels: list[Tensor] | None = None,
) -> ActiveClasses:
    """Return a step's sample of classes, drawn from all classes or from each process's own.

    All is drawn and looked up on the CPU, so that nothing waits for the device.

    Args:
        mode: Share of the classes, where they are drawn from, and whether sums are corrected.
        shard: Classes that this process holds.
        class_weights: (c, …) weights of the shard; the sampled rows are leaf tensors of their own.
        labels: (B,) for each label of a sample, of the whole batch; their classes are in the sample.
        seed: Of the random sample, the same in all processes.
        classes: (n,) sorted ids to use instead of a random sample, the same in all processes.
        host_labels: The labels on the CPU, where they are known there; else they are copied.
    """
    host_labels = [row_labels.cpu() for row_labels in labels] if host_labels is None else host_labels
    positives = torch.cat(host_labels).unique()
    world, rank = (shard.world, shard.rank) if mode.sample == "shard" else (1, 0)
    starts = [part_of(shard.num_classes, process, world)[0] for process in range(world)]
    bounds = torch.tensor([*starts, shard.num_classes])
    parts, known = bounds.diff().tolist(), torch.searchsorted(positives, bounds)
    positive_counts, own = known.diff().tolist(), positives[known[rank] : known[rank + 1]]
    if classes is None:
        sizes = [sample_size(*counts, mode.fraction) for counts in zip(parts, positive_counts, strict=True)]
        first = int(bounds[rank])
        start, stop = shard.start - first, shard.stop - first
        ids = first + sample_classes(parts[rank], own - first, mode.fraction, seed, start, stop, key=first)
    else:
        classes = classes.cpu()
        sizes = torch.searchsorted(classes, bounds).diff().tolist()
        ids = classes[(classes >= shard.start) & (classes < shard.stop)]
    count, weights = sum(sizes), None
    if mode.correction:
        rows = zip(parts, sizes, positive_counts, strict=True)
        count = sum(part if size > positive else size for part, size, positive in rows)
        weights = log_weights(parts[rank], sizes[rank], ids, own, class_weights.dtype)
    host_ids, device = ids - shard.start, class_weights.device
    ids = to_device(host_ids, device)
    leaf = class_weights.detach()[ids].requires_grad_()
    places = [to_device(_places_among(host_ids, shard.places(row_labels)), device) for row_labels in host_labels]
    weights = None if weights is None else to_device(weights, device)
    return ActiveClasses(leaf, labels, places, sum(sizes), count, ids, weights, host_labels, host_ids)


def _places_among(ids: Tensor, places: Tensor) -> Tensor:
    """Return the places among sorted ids of (B,) places among all classes; −1 stays −1."""
    return torch.where(places >= 0, torch.searchsorted(ids, places), -1)


def sample_size(num_classes: int, positives: int, fraction: float) -> int:
    """n = ⌈fraction·C⌉, or the number of positives if that is larger."""
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
    """Return the sorted ids in [start, stop) of a sample of `sample_size` classes: all positives, the rest at random.

    An 2021, arXiv:2010.05222. Draws on the CPU, so the sample is the same on every device. Draws block by block, first
    the number of classes per block and then the classes, so that a process draws only its part.

    Args:
        num_classes: C.
        positives: Distinct and sorted ids.
        fraction: Share of the classes.
        seed: Of the sample.
        start: First id to return.
        stop: The id after the last to return; None for all.
        key: Samples with the same seed and different keys are independent.
    """
    stop = num_classes if stop is None else stop
    size = sample_size(num_classes, len(positives), fraction)
    if size == num_classes:
        return torch.arange(start, stop, device=positives.device)
    known = positives.cpu().numpy()
    bounds = np.append(np.arange(0, num_classes, BLOCK), num_classes)
    free = np.diff(bounds) - np.diff(np.searchsorted(known, bounds))
    counts = _generator(seed, key).multivariate_hypergeometric(free, size - len(known))
    parts = [known]
    for block in range(start // BLOCK, -(-stop // BLOCK)):
        own = known[np.searchsorted(known, bounds[block]) : np.searchsorted(known, bounds[block + 1])] - bounds[block]
        # The r-th class that is no positive: r, and one more for each positive up to there.
        drawn = _generator(seed, key, block).choice(free[block], counts[block], replace=False, shuffle=False)
        drawn += np.searchsorted(own - np.arange(len(own)), drawn, side="right")
        parts.append(drawn + bounds[block])
    ids = np.sort(np.concatenate(parts))
    inside = slice(*np.searchsorted(ids, [start, stop]))
    return torch.from_numpy(ids[inside]).to(positives.device)


def _generator(seed: int, *keys: int) -> np.random.Generator:
    """Return a stream for each seed and keys; numpy treats a list [seed, 0] like the seed alone."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=keys))


def log_weights(num_classes: int, count: int, ids: Tensor, positives: Tensor, dtype: torch.dtype) -> Tensor:
    """Return −ln of the probability (n,) of each sampled class to be in the sample, 0 for the positives; on the CPU.

    Args:
        num_classes: Number of classes that the sample was drawn from.
        count: Size of the sample.
        ids: (n,) sampled classes, sorted.
        positives: Classes that are always in the sample, or in another process's part of it.
        dtype: Of the result.
    """
    if count <= len(positives) or not len(ids):
        return torch.zeros(len(ids), dtype=dtype)
    weights = torch.full((len(ids),), math.log((num_classes - len(positives)) / (count - len(positives))), dtype=dtype)
    places = torch.searchsorted(ids, positives).clamp_max(len(ids) - 1)
    return weights.index_fill_(0, places[ids[places] == positives], 0.0)
