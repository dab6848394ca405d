"""One network trained by several processes, each with its part of the batch."""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from eml.distributed.processes import Processes
from eml.distributed.sharded_network import is_in_parts, own_part
from eml.head.class_head import ClassHead
from eml.models.embedder import Embedder

BUCKET = 25 << 20  # bytes of gradients sent at once


def same_everywhere(embedder: Embedder, processes: Processes) -> None:
    """The first process's weights in all of them, should a machine have read others."""
    if processes.world > 1:
        for each in embedder.state_dict().values():
            dist.broadcast(each, 0)


class SummedGradients:
    """Sums the network's gradients over the processes while the backward pass still goes on.

    The class head takes the loss of the whole batch, so that the parts of a gradient add up and are not averaged. This
    is not torch's DistributedDataParallel, which averages, and which after its first step puts gradients together anew:
    with more than two processes sums would then be in another order after a resume.
    """

    def __init__(self, network: nn.Module) -> None:
        """network: what is shared out of it (`shard_network`) torch sums up itself."""
        self._buckets: list[list[nn.Parameter]] = []
        self._bucket_of: dict[nn.Parameter, int] = {}
        size = BUCKET
        for each in reversed(list(network.parameters())):  # about as their gradients come
            if not each.requires_grad or is_in_parts(each):
                continue
            if size >= BUCKET or each.dtype != self._buckets[-1][0].dtype:
                self._buckets.append([])
                size = 0
            self._buckets[-1].append(each)
            size += each.numel() * each.element_size()
            self._bucket_of[each] = len(self._buckets) - 1
            each.register_post_accumulate_grad_hook(self._arrived)
        self._missing: list[set[nn.Parameter]] | None = None
        self._sent: list[tuple[Tensor, Any]] = []

    def begin(self) -> None:
        """Before the backward pass that completes the gradients."""
        self._missing, self._sent = [set(bucket) for bucket in self._buckets], []

    def finish(self) -> None:
        """After it; every gradient is then the sum. A parameter that has none in the network's graph stays without."""
        assert self._missing is not None
        self._missing = None
        while len(self._sent) < len(self._buckets):
            self._send()
        for bucket, (flat, work) in zip(self._buckets, self._sent, strict=True):
            work.wait()
            for each, total in zip(bucket, flat.split([each.numel() for each in bucket]), strict=True):
                if each.grad is not None:
                    each.grad.copy_(total.view_as(each))
        self._sent = []

    def _arrived(self, parameter: Tensor) -> None:
        if self._missing is None:
            return
        number = self._bucket_of[parameter]  # type: ignore[index]
        assert number >= len(self._sent), "a gradient was added to after it had been sent"
        self._missing[number].discard(parameter)
        while len(self._sent) < len(self._buckets) and not self._missing[len(self._sent)]:
            self._send()

    def _send(self) -> None:
        """The next bucket; in the same order everywhere."""
        bucket = self._buckets[len(self._sent)]
        flat = torch.cat([(torch.zeros_like(each) if each.grad is None else each.grad).flatten() for each in bucket])
        self._sent.append((flat, dist.all_reduce(flat, async_op=True)))


def share_statistics(embedder: Embedder, processes: Processes) -> None:
    """Mean over the processes of the running statistics of BatchNorm layers that train.

    So that the network is one and the same everywhere between steps: as it is validated and saved.
    """
    if processes.world == 1:
        return
    means = [
        statistic
        for layer in _batch_norms(embedder)
        if layer.training and not isinstance(layer, nn.SyncBatchNorm)
        for statistic in (layer.running_mean, layer.running_var)
        if statistic is not None
    ]
    if means:
        flat = torch.cat([each.flatten() for each in means])
        dist.all_reduce(flat)
        flat /= processes.world
        for each, mean in zip(means, flat.split([each.numel() for each in means]), strict=True):
            each.copy_(mean)


def _batch_norms(embedder: Embedder) -> list[nn.modules.batchnorm._BatchNorm]:
    return [each for each in embedder.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]


def gradient_norm(trained: list[Tensor], rows: list[Tensor], head: ClassHead) -> Tensor:
    """() norm of the whole gradient: what every process has counts once, what each has a part of is summed over all.

    trained: tensors with gradients, among them rows: those of class weights that were sampled.
    """
    norm: Callable[[list[Tensor]], Tensor] = lambda given: nn.utils.get_total_norm(own_gradients(given))  # noqa: E731
    if head.shard.group is None:
        return norm(trained)
    by_class = {id(each) for each in (head.class_weights, head.bias, *rows)}
    parted = [id(each) in by_class or is_in_parts(each) for each in trained]
    ours = norm([each for each, in_parts in zip(trained, parted, strict=True) if in_parts])
    others = norm([each for each, in_parts in zip(trained, parted, strict=True) if not in_parts])
    device = head.class_weights.device  # of a norm of nothing, torch does not know
    return (head.shard.total(ours.to(device).square()) + others.to(device).square()).sqrt()


def clip_gradients(trained: list[Tensor], largest: float, norm: Tensor) -> None:
    """Scale them down where the norm of all is above the largest.

    As torch's clip_grads_with_norm_ does, which refuses tensors that are shared out next to others.
    """
    if gradients := own_gradients(trained):
        torch._foreach_mul_(gradients, torch.clamp(largest / (norm + 1e-6), max=1.0))


def own_gradients(trained: list[Tensor]) -> list[Tensor]:
    """This process's parts of the gradients there are."""
    return [own_part(each.grad) for each in trained if each.grad is not None]
