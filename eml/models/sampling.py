"""Which classes a step sees."""

import math

import numpy as np
import torch
from torch import Tensor


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
