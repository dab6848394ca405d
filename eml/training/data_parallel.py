"""Gradients and statistics of a network that several processes train, each on its part of the batch."""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from eml.distributed.processes import Processes
from eml.distributed.sharded_network import is_in_parts, own_part
from eml.head.class_head import ClassHead
from eml.models.embedder import Embedder

BUCKET = 25 << 20  # bytes of gradients per message


def broadcast_weights(embedder: Embedder, processes: Processes) -> None:
    """Give all processes the first one's weights, should a machine have read different ones."""
    if processes.world > 1:
        for tensor in embedder.state_dict().values():
            dist.broadcast(tensor, 0)


class SummedGradients:
    """Sums the network's gradients over the processes during the backward pass.

    The class head takes the loss of the whole batch, so that the parts of a gradient are summed and not averaged.
    Torch's DistributedDataParallel does not serve here: it averages, and it regroups the gradients after its first
    step, so that with more than two processes the order of the sums would differ after a resume.

    Args:
        network: Parameters that are sharded (`shard_network`) are left out, since torch sums their gradients.
    """

    def __init__(self, network: nn.Module) -> None:
        self._buckets: list[list[nn.Parameter]] = []
        self._bucket_of: dict[nn.Parameter, int] = {}
        size = BUCKET
        for parameter in reversed(list(network.parameters())):  # about the order in which gradients arrive
            if not parameter.requires_grad or is_in_parts(parameter):
                continue
            if size >= BUCKET or parameter.dtype != self._buckets[-1][0].dtype:
                self._buckets.append([])
                size = 0
            self._buckets[-1].append(parameter)
            size += parameter.numel() * parameter.element_size()
            self._bucket_of[parameter] = len(self._buckets) - 1
            parameter.register_post_accumulate_grad_hook(self._arrived)
        self._missing: list[set[nn.Parameter]] | None = None
        self._sent: list[tuple[Tensor, Any]] = []

    def begin(self, done: Iterable[nn.Parameter] = ()) -> None:
        """Prepare for the backward pass that completes the gradients, but for those that are complete already."""
        complete = set(done)
        self._missing, self._sent = [set(bucket) - complete for bucket in self._buckets], []

    def finish(self) -> None:
        """Wait for the sums after that backward pass; a parameter without a gradient keeps none."""
        assert self._missing is not None
        self._missing = None
        while len(self._sent) < len(self._buckets):
            self._send()
        for bucket, (flat, work) in zip(self._buckets, self._sent, strict=True):
            work.wait()
            sums = flat.split([parameter.numel() for parameter in bucket])
            for parameter, total in zip(bucket, sums, strict=True):
                if parameter.grad is not None:
                    parameter.grad.copy_(total.view_as(parameter))
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
        """Send the next bucket; the order is the same in all processes."""
        bucket = self._buckets[len(self._sent)]
        gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in bucket]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        self._sent.append((flat, dist.all_reduce(flat, async_op=True)))


def average_statistics(embedder: Embedder, processes: Processes) -> None:
    """Average the running statistics of training BatchNorm layers over the processes.

    The network is then the same in all processes between steps, when it is validated and saved.
    """
    if processes.world == 1:
        return
    means = [
        statistic
        for layer in batch_norms(embedder)
        if layer.training and not isinstance(layer, nn.SyncBatchNorm)
        for statistic in (layer.running_mean, layer.running_var)
        if statistic is not None
    ]
    if means:
        flat = torch.cat([mean.flatten() for mean in means])
        dist.all_reduce(flat)
        flat /= processes.world
        for mean, average in zip(means, flat.split([mean.numel() for mean in means]), strict=True):
            mean.copy_(average)


def batch_norms(network: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """Return the BatchNorm layers of a network."""
    return [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def gradient_norm(trained: list[Tensor], rows: list[Tensor], head: ClassHead) -> Tensor:
    """Return the norm () of the whole gradient.

    A gradient that every process has counts once; one that is split over the processes is summed over all of them.

    Args:
        trained: Tensors with gradients.
        rows: Those of them that are sampled class weights.
        head: The class head.
    """
    if head.shard.group is None:
        return _norm(trained)
    by_class = {id(tensor) for tensor in (head.class_weights, head.bias, *rows)}
    is_split = [id(tensor) in by_class or is_in_parts(tensor) for tensor in trained]
    split_norm = _norm([tensor for tensor, split in zip(trained, is_split, strict=True) if split])
    whole_norm = _norm([tensor for tensor, split in zip(trained, is_split, strict=True) if not split])
    device = head.class_weights.device  # torch puts the norm of no tensors on the CPU
    return (head.shard.total(split_norm.to(device).square()) + whole_norm.to(device).square()).sqrt()


def _norm(tensors: list[Tensor]) -> Tensor:
    norm: Tensor = nn.utils.get_total_norm(own_gradients(tensors))
    return norm


def clip_gradients(trained: list[Tensor], largest: float, norm: Tensor) -> None:
    """Scale the gradients down when their norm is above the largest allowed.

    Torch's clip_grads_with_norm_ does the same, but refuses sharded tensors beside others.
    """
    if gradients := own_gradients(trained):
        torch._foreach_mul_(gradients, torch.clamp(largest / (norm + 1e-6), max=1.0))


def own_gradients(trained: list[Tensor]) -> list[Tensor]:
    """Return this process's parts of the gradients that exist."""
    return [own_part(tensor.grad) for tensor in trained if tensor.grad is not None]
