"""The rows of class weights that mode `sampled` trains: drawn for a step, then updated by a row-wise optimizer."""

from dataclasses import replace

import torch
from torch import Tensor, nn

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
        self.pending: list[tuple[Tensor, Tensor]] = []
        """Ids (n,) in the shard and leaf rows (n, …) of each sample since the last step."""
        class_weights.requires_grad_(False)
        seed = torch.randint(2**62, (), dtype=torch.int64)
        self.random = NamedBuffers(module, "sampling", {"seed": seed, "count": torch.zeros_like(seed)}, dtype)
        state = mode.optimizer.initial_state(class_weights)
        self.optimizer_state = NamedBuffers(module, "optimizer", state, at_least_float32(dtype))

    def draw(
        self, class_weights: Tensor, labels: list[Tensor], classes: Tensor | None, dtype: torch.dtype
    ) -> ActiveClasses:
        """Return the classes of a step and keep their rows for `step`.

        Args:
            class_weights: (c, …) of the shard.
            labels: (B,) for each label of a sample.
            classes: (n,) sorted ids to use instead of a random sample.
            dtype: Of the log-weights.

        Raises:
            ValueError: `classes` lacks a label, or is not sorted ids of classes.
        """
        count = self.random["count"]
        if classes is None:
            self.random.replace({"count": count + 1})
        else:
            check_classes(classes, torch.cat(labels), self.shard.num_classes)
        seed = int(self.random["seed"]) + int(count)
        active = draw_active_classes(self.mode, self.shard, class_weights, labels, seed, classes)
        if torch.is_grad_enabled():
            assert active.ids is not None
            self.pending.append((active.ids, active.weights))
        return active if active.log_weights is None else replace(active, log_weights=active.log_weights.to(dtype))

    def step(self, class_weights: Tensor, learning_rate: float, weight_decay: float) -> None:
        """Update class weights (c, …) in place from the gradients since the last step and forget these."""
        gradients = [(ids, rows.grad) for ids, rows in self.pending if rows.grad is not None]
        self.pending = []
        if not gradients:
            return
        ids, gradient = _summed(gradients)
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
            for start in range(0, len(weights), CHUNK):
                part = slice(start, start + CHUNK)
                inside = (ids >= start) & (ids < start + CHUNK)
                dense = torch.zeros_like(weights[part]).index_copy_(0, ids[inside] - start, gradient[inside])
                part_state = {name: values[part] for name, values in state.items()}
                update(weights[part], dense, part_state, learning_rate, weight_decay)


def _summed(gradients: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return distinct ids and their gradients, added up over samples (gradient accumulation draws several)."""
    if len(gradients) == 1:
        return gradients[0]
    ids, places = torch.cat([ids for ids, _ in gradients]).unique(return_inverse=True)
    rows = torch.cat([gradient for _, gradient in gradients])
    return ids, rows.new_zeros(len(ids), *rows.shape[1:]).index_add_(0, places, rows)
