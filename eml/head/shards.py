"""Classes split over processes: the part that a process holds, and the exchanges between processes.

Every process sees the whole batch and computes the same loss of it, but compares it only with its own classes. So a sum
over classes needs one exchange in the forward pass and none in the backward pass. A value that is the same in all
processes and enters the comparison needs one exchange in the backward pass. No gradient is multiplied by the number of
processes.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


@dataclass(frozen=True)
class Shard:
    """The classes [start, stop) out of num_classes, and the group of processes that hold all of them.

    group: None for a process that holds all classes itself; then no method changes a tensor.
    """

    num_classes: int
    start: int
    stop: int
    group: Any = None

    @classmethod
    def whole(cls, num_classes: int) -> "Shard":
        """Return the shard of a process that holds all classes."""
        return cls(num_classes, 0, num_classes)

    @classmethod
    def of_group(cls, num_classes: int, group: Any = None) -> "Shard":
        """Return this process's contiguous part of the classes. group: of torch.distributed, None for all processes."""
        group = group or dist.group.WORLD
        return cls(num_classes, *part_of(num_classes, dist.get_rank(group), dist.get_world_size(group)), group)

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def rank(self) -> int:
        """The rank of this process in the group."""
        return 0 if self.group is None else dist.get_rank(self.group)

    @property
    def world(self) -> int:
        """The number of processes in the group."""
        return 1 if self.group is None else dist.get_world_size(self.group)

    def places(self, labels: Tensor) -> Tensor:
        """Return the (B,) place of each label among the classes of this shard, −1 for a class elsewhere."""
        if self.group is None:
            return labels
        return torch.where((labels >= self.start) & (labels < self.stop), labels - self.start, -1)

    def counts(self, local: Tensor) -> list[int]:
        """Return the number of rows of each process."""
        if self.group is None:
            return [len(local)]
        count = torch.tensor([len(local)], device=local.device)
        counts = [torch.empty_like(count) for _ in range(self.world)]
        dist.all_gather(counts, count, group=self.group)
        return torch.cat(counts).tolist()

    def gathered(self, local: Tensor, counts: list[int] | None = None) -> Tensor:
        """Return the (B, …) rows of all processes in order. local: (b, …); counts: rows per process, if known."""
        if self.group is None:
            return local
        gathered: Tensor = _Gather.apply(local, counts or self.counts(local), self)
        return gathered

    def into(self, shared: Tensor) -> Tensor:
        """Return a value that is the same in all processes, ready to compare with this shard: gradients are summed."""
        return shared if self.group is None else _Into.apply(shared, self.group)

    def total(self, part: Tensor) -> Tensor:
        """Return the sum over the processes, the same in all of them."""
        return part if self.group is None else _Total.apply(part, self.group)

    def log_sum_exp(self, part: Tensor) -> Tensor:
        """ln Σ exp over the processes' parts, elementwise; −∞ where all parts are."""
        if self.group is None:
            return part
        largest = self.largest(part.detach())
        finite = largest.masked_fill(largest == -torch.inf, 0.0)
        total = self.total((part - finite).exp())
        nothing = total.detach() == 0
        return (total.masked_fill(nothing, 1.0).log() + finite).masked_fill(nothing, -torch.inf)

    def largest(self, part: Tensor) -> Tensor:
        """Return the maximum over the processes, detached."""
        if self.group is None:
            return part
        largest = part.detach().clone()
        dist.all_reduce(largest, dist.ReduceOp.MAX, group=self.group)
        return largest

    def merged(self, part: Tensor) -> Tensor:
        """Return the (C, …) values of all classes from this process's (c, …), without a gradient."""
        with torch.no_grad():
            return self.gathered(part.detach())

    def mine(self, everything: Tensor) -> Tensor:
        """Return this process's (c, …) part of (C, …) values."""
        return everything if self.group is None else everything[self.start : self.stop]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor, counts: list[int], shard: Shard) -> Tensor:
        ctx.first, ctx.count = sum(counts[: shard.rank]), counts[shard.rank]
        longest = max(counts)
        padded = local.new_zeros(longest, *local.shape[1:])
        padded[: len(local)] = local
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded, group=shard.group)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient[ctx.first : ctx.first + ctx.count], None, None


class _Into(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, shared: Tensor, group: Any) -> Tensor:
        ctx.group = group
        return shared.view_as(shared)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient, group=ctx.group)
        return gradient, None


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, group: Any) -> Tensor:
        total = part.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def part_of(num_classes: int, rank: int, world: int) -> tuple[int, int]:
    """Return the first class of process `rank` of `world`, and the one after its last."""
    return rank * num_classes // world, (rank + 1) * num_classes // world
