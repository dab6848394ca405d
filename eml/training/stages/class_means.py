"""Class weights that begin as the mean embedding of each class's images. Qi 2018, arXiv:1712.07136."""

import torch
from torch import Tensor
from torch.nn.functional import normalize as unit_length

from eml.training.build import RunParts
from eml.training.stages.features import embed_training_images, rows_to_embed

SPREAD = 0.1
"""Several centres of a class are this far from its mean, as a share of its length."""
IMAGES = 8
"""Images of each class that its mean is of: it is where training begins, which more would not change."""


def set_class_means(parts: RunParts) -> None:
    """Set the class weights to unit means of unit embeddings of some training images; all processes call this."""
    count = len(parts.data.classes)
    rows = rows_to_embed(parts.data.labels, IMAGES * count)
    outputs, labels = embed_training_images(parts, parts.networks.evaluated, rows=rows)
    means = parts.processes.from_first(lambda: class_means(outputs, torch.from_numpy(labels), count))
    head = parts.head
    own = means[head.shard.start : head.shard.stop].to(head.class_weights)
    with torch.no_grad():
        if head.class_weights.ndim == 3:
            own = unit_length(own.unsqueeze(1) + SPREAD * unit_length(head.class_weights, dim=2), dim=2)
        head.class_weights.copy_(own)


def class_means(outputs: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return (C, D) unit means of unit vectors.

    Args:
        outputs: (N, D) of any length but 0.
        labels: (N,) from 0.
        classes: C.
    """
    total = torch.zeros(classes, outputs.shape[1], dtype=torch.float64)
    total.index_add_(0, labels, unit_length(outputs.double()))
    return unit_length(total).float()
