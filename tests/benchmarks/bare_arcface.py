"""ArcFace's loss as a loop written by hand has it, for benchmarks that compare eml with such a loop."""

import math

from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

MARGIN = 0.5


def bare_arcface(embeddings: Tensor, weights: Tensor, labels: Tensor, scale: float = 64) -> Tensor:
    """Return the mean loss of embeddings (B, D) with class weights (C, D) and labels (B,)."""
    cosine = normalize(embeddings.float()) @ normalize(weights).T
    own = cosine.gather(1, labels.unsqueeze(1)).clamp(-1 + 1e-6, 1 - 1e-6)
    target = own * math.cos(MARGIN) - (1 - own**2).sqrt() * math.sin(MARGIN)
    return cross_entropy(scale * cosine.scatter(1, labels.unsqueeze(1), target), labels)
