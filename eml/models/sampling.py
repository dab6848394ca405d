"""Which classes a step of mode sampled sees, and how their rows are updated."""

import math

import numpy as np
import torch
from torch import Tensor

from eml.models.modes import Sampled

ROWS = 16_384  # class weights updated at once where a step moves all of them


def sample_classes(num_classes: int, positives: Tensor, fraction: float, seed: int) -> Tensor:
    """(n,) sorted class ids: the positives, and others at random up to n = ⌈fraction·C⌉, or the positives alone.

    An 2021, arXiv:2010.05222. positives: distinct and sorted. Drawn on the CPU: the same on every device.
    """
    wanted = max(math.ceil(fraction * num_classes), len(positives))
    if wanted >= num_classes:
        return torch.arange(num_classes, device=positives.device)
    known = positives.cpu().numpy()
    free, count = num_classes - len(known), wanted - len(known)
    drawn = np.random.default_rng(seed).choice(free, count, replace=False, shuffle=False)
    # The r-th class that is no positive: r, and one more for each positive up to there.
    drawn += np.searchsorted(known - np.arange(len(known)), drawn, side="right")
    return torch.from_numpy(np.sort(np.concatenate([known, drawn]))).to(positives.device)


def log_weights(num_classes: int, ids: Tensor, positives: Tensor, dtype: torch.dtype) -> Tensor:
    """(n,) −ln of each sampled class's probability to be there, 0 for the positives."""
    weights = torch.zeros(len(ids), dtype=dtype, device=ids.device)
    if len(ids) > len(positives):
        weights += math.log((num_classes - len(positives)) / (len(ids) - len(positives)))
        weights[torch.searchsorted(ids, positives)] = 0.0
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
