"""The rows of class weights that mode `sampled` trains: drawn for a step, then updated by a row-wise optimizer."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from eml.devices import to_device
from eml.head.active_classes import ActiveClasses
from eml.head.buffers import NamedBuffers, at_least_float32
from eml.head.checks import check_classes
from eml.head.modes import Sampled
from eml.head.sampling import draw_active_classes
from eml.head.shards import Shard

CHUNK = 16_384  # class weights updated at once where a step moves all of them


class SampledRows:
    """The rows sampled since the last step, as leaf tensors, so that no dense gradient is made.

    Keeps its random state and the optimizer's state in the head's buffers `sampling_*` and `optimizer_*`.

    Args:
        module: The head.
        mode: Sampling and optimizer.
        shard: Classes that this process holds.
        class_weights: (c, …) weights of the shard; from now on `step` alone trains them.
        dtype: Of the class weights; the optimizer's state has it, or float32 if that is more precise.
    """

    def __init__(
        self, module: nn.Module, mode: Sampled, shard: Shard, class_weights: Tensor, dtype: torch.dtype
    ) -> None:
        self.mode, self.shard = mode, shard
        self.pending: list[ActiveClasses] = []
        """The samples since the last step; their weights (n, …) are leaf tensors."""
        class_weights.requires_grad_(False)
        seed = torch.randint(2**62, (), dtype=torch.int64)
        self.random = NamedBuffers(module, "sampling", {"seed": seed, "count": torch.zeros_like(seed)}, dtype)
        state = mode.optimizer.initial_state(class_weights)
        self.optimizer_state = NamedBuffers(module, "optimizer", state, at_least_float32(dtype))

    def draw(
        self,
        class_weights: Tensor,
        labels: list[Tensor],
        classes: Tensor | None,
        dtype: torch.dtype,
        host_labels: list[Tensor] | None = None,
    ) -> ActiveClasses:
        """Return the classes of a step and keep their rows for `step`.

        Args:
            class_weights: (c, …) of the shard.
            labels: (B,) for each label of a sample.
            classes: (n,) sorted ids to use instead of a random sample.
            dtype: Of the log-weights.
            host_labels: The labels on the CPU, where they are known there.

        Raises:
            ValueError: `classes` lacks a label, or is not sorted ids of classes.
        """
        if classes is None:
            count = self.random.count("count")
        else:
            count = self.random.number("count")
            check_classes(classes, torch.cat(labels), self.shard.num_classes)
        seed = self.random.number("seed") + count
        active = draw_active_classes(self.mode, self.shard, class_weights, labels, seed, classes, host_labels)
        if torch.is_grad_enabled():
            self.pending.append(active)
        return active if active.log_weights is None else replace(active, log_weights=active.log_weights.to(dtype))

    def step(self, class_weights: Tensor, learning_rate: float, weight_decay: float) -> None:
        """Update class weights (c, …) in place from the gradients since the last step and forget these."""
        samples, self.pending = [sample for sample in self.pending if sample.weights.grad is not None], []
        if not samples:
            return
        host_ids, ids, gradient = _summed(samples)
        weights, state = class_weights.detach(), self.optimizer_state.read()
        update = self.mode.optimizer.update
        with torch.no_grad():
            if self.mode.unsampled == "frozen":
                rows, part_state = weights[ids], {name: values[ids] for name, values in state.items()}
                update(rows, gradient, part_state, learning_rate, weight_decay)
                weights.index_copy_(0, ids, rows)
                for name, values in part_state.items():
                    state[name].index_copy_(0, ids, values)
                return
            starts = torch.arange(0, len(weights) + CHUNK, CHUNK)
            bounds = torch.searchsorted(host_ids, starts).tolist()
            for number, start in enumerate(range(0, len(weights), CHUNK)):
                part, inside = slice(start, start + CHUNK), slice(*bounds[number : number + 2])
                dense = torch.zeros_like(weights[part]).index_copy_(0, ids[inside] - start, gradient[inside])
                part_state = {name: values[part] for name, values in state.items()}
                update(weights[part], dense, part_state, learning_rate, weight_decay)


def _summed(samples: list[ActiveClasses]) -> tuple[Tensor, Tensor, Tensor]:
    """Return distinct ids, on the CPU and on the device, and their gradients, added up over samples.

    Gradient accumulation draws several.
    """
    host_ids = [sample.host_ids for sample in samples if sample.host_ids is not None]
    gradients = [sample.weights.grad for sample in samples if sample.weights.grad is not None]
    if len(samples) == 1 and samples[0].ids is not None:
        return host_ids[0], samples[0].ids, gradients[0]
    distinct, places = torch.cat(host_ids).unique(return_inverse=True)
    rows = torch.cat(gradients)
    total = rows.new_zeros(len(distinct), *rows.shape[1:]).index_add_(0, to_device(places, rows.device), rows)
    return distinct, to_device(distinct, rows.device), total
