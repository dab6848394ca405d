"""The classes that a step compares embeddings with."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ActiveClasses:
    """The classes in this process that a step compares embeddings with, n of them: all of its classes or a sample.

    weights: (n, D) or (n, K, D). labels: for each label of a sample, (B,) its class. places: for each label, (B,) place
    of its class among these, −1 for a class elsewhere. compared: number of classes compared in all processes. count:
    number of classes that those stand for. ids: (n,) sorted places of a sample in the shard; None for all classes.
    log_weights: (n,) added to the logits under the exponential, where everything else is weighted by their exponential;
    None for 0. host_labels, host_ids: labels and ids on the CPU, where they are known without asking the device.
    """

    weights: Tensor
    labels: list[Tensor]
    places: list[Tensor]
    compared: int
    count: int
    ids: Tensor | None = None
    log_weights: Tensor | None = None
    host_labels: list[Tensor] | None = None
    host_ids: Tensor | None = None

    def target_weights(self) -> list[Tensor]:
        """Return for each label the (B, …) class weights of its class, zeros for a class elsewhere."""
        return [rows_at(self.weights, places) for places in self.places]

    def select(self, values: Tensor | None) -> Tensor | None:
        """Return the active rows (n, …) of (c, …) values of the shard's classes."""
        return values if values is None or self.ids is None else values[self.ids]


def rows_at(class_weights: Tensor, places: Tensor) -> Tensor:
    """Return the (B, …) rows of the class weights at (B,) places, zeros without a gradient where the place is −1."""
    if not len(class_weights):
        return class_weights.new_zeros(len(places), *class_weights.shape[1:])
    rows = class_weights[places.clamp_min(0)]
    return torch.where((places >= 0).view(-1, *[1] * (rows.ndim - 1)), rows, rows.new_zeros(()))
