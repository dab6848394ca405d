"""Classes spread over processes: which of them are here, and what the processes tell one another.

Every process sees the whole batch and takes the same loss of it; what differs is which classes it compares it with. So
a sum over classes needs one exchange on the way forward and none on the way back, a value that is the same everywhere
and goes into the comparison needs one on the way back, and no gradient is multiplied by the number of processes.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Shard:
    """The classes [start, stop) out of num_classes, and the group of processes that hold all of them.

    group: None for a process that holds all classes itself; then everything here leaves tensors as they are.
    """

    num_classes: int
    start: int
    stop: int
    group: Any = None

    @classmethod
    def whole(cls, num_classes: int) -> "Shard":
        """All classes, here."""
        return cls(num_classes, 0, num_classes)

    @classmethod
    def of_group(cls, num_classes: int, group: Any = None) -> "Shard":
        """This process's contiguous part of the classes; group: of torch.distributed, None for all its processes."""
        group = group or dist.group.WORLD
        return cls(num_classes, *part_of(num_classes, dist.get_rank(group), dist.get_world_size(group)), group)

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def rank(self) -> int:
        """Of this process in the group."""
        return 0 if self.group is None else dist.get_rank(self.group)

    @property
    def world(self) -> int:
        """The number of processes in the group."""
        return 1 if self.group is None else dist.get_world_size(self.group)

    def places(self, labels: Tensor) -> Tensor:
        """(B,) place of each label among the classes here, −1 where it is elsewhere."""
        if self.group is None:
            return labels
        return torch.where((labels >= self.start) & (labels < self.stop), labels - self.start, -1)

    def counts(self, local: Tensor) -> list[int]:
        """The number of rows that each process has."""
        if self.group is None:
            return [len(local)]
        count = torch.tensor([len(local)], device=local.device)
        counts = [torch.empty_like(count) for _ in range(self.world)]
        dist.all_gather(counts, count, group=self.group)
        return torch.cat(counts).tolist()

    def gathered(self, local: Tensor, counts: list[int] | None = None) -> Tensor:
        """(B, …) of (b, …) rows of each process, one after the other. counts: of rows, where they are known."""
        if self.group is None:
            return local
        gathered: Tensor = _Gather.apply(local, counts or self.counts(local), self)
        return gathered

    def into(self, shared: Tensor) -> Tensor:
        """A value that is the same everywhere, as each process compares it with its classes: gradients add up."""
        return shared if self.group is None else _Into.apply(shared, self.group)

    def total(self, part: Tensor) -> Tensor:
        """The sum over the processes, the same everywhere."""
        return part if self.group is None else _Total.apply(part, self.group)

    def log_sum_exp(self, part: Tensor) -> Tensor:
        """ln Σ exp over the processes' parts, elementwise; −∞ where all are."""
        if self.group is None:
            return part
        largest = self.largest(part.detach())
        finite = largest.masked_fill(largest == -torch.inf, 0.0)
        total = self.total((part - finite).exp())
        nothing = total.detach() == 0
        return (total.masked_fill(nothing, 1.0).log() + finite).masked_fill(nothing, -torch.inf)

    def largest(self, part: Tensor) -> Tensor:
        """The maximum over the processes, detached."""
        if self.group is None:
            return part
        largest = part.detach().clone()
        dist.all_reduce(largest, dist.ReduceOp.MAX, group=self.group)
        return largest

    def merged(self, part: Tensor) -> Tensor:
        """(C, …) of all classes, of this process's (c, …); without a gradient."""
        with torch.no_grad():
            return self.gathered(part.detach())

    def mine(self, everything: Tensor) -> Tensor:
        """This process's (c, …) of (C, …)."""
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
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient[ctx.first : ctx.first + ctx.count], None, None


class _Into(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, shared: Tensor, group: Any) -> Tensor:
        ctx.group = group
        return shared.view_as(shared)

    @staticmethod
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
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def part_of(num_classes: int, rank: int, world: int) -> tuple[int, int]:
    """First class of process `rank` of `world`, and the one after its last."""
    return rank * num_classes // world, (rank + 1) * num_classes // world


def drawn_rows(shard: Shard, width: int, dtype: torch.dtype, block: int = 4096) -> Tensor:
    """(c, width) standard normal numbers for the classes that are here, the same however many processes there are.

    Drawn block by block of classes, each from a seed of its own, so that a process draws its part alone. The seeds
    follow on a number from torch's generator, of which no more is taken. block: part of what a seed gives.
    """
    seed = int(torch.randint(2**32, (), dtype=torch.int64))  # of a seed, torch's generator takes 32 bits
    rows, generator = torch.empty(len(shard), width, dtype=dtype), torch.Generator()
    for number in range(shard.start // block, -(-shard.stop // block)):
        generator.manual_seed((seed + number) % 2**32)
        first, end = number * block, min((number + 1) * block, shard.num_classes)
        start, stop = max(first, shard.start), min(end, shard.stop)
        inside = rows[start - shard.start : stop - shard.start]
        if stop - start == end - first:
            inside.normal_(generator=generator)
        else:
            inside.copy_(
                torch.empty(end - first, width, dtype=dtype).normal_(generator=generator)[start - first : stop - first]
            )
    return rows
