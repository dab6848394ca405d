"""One network shared out over processes: of its weights, gradients and optimizer state each holds a part.

Torch's fully_shard (FSDP2; Zhao 2023, arXiv:2304.11277, and Rajbhandari 2020, arXiv:1910.02054, stage 3): a unit's
weights are gathered before it works and let go after it, and the sums of its gradients go to those who hold them.
"""

from collections import Counter
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from eml.distributed.processes import Processes, is_loss
from eml.errors import ConfigError
from eml.models.embedder import Embedder

AVAILABLE = hasattr(FSDPModule, "set_force_sum_reduction_for_comms")  # from torch 2.8 on
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
SMALL = 1 / 16  # share of the backbone's weights up to which a stage is gathered as a whole
TINY = 1 / 256  # below that, not by itself


def shard_network(embedder: Embedder, processes: Processes, device: torch.device, *, side: int) -> None:
    """Share out an embedder on the CPU, whose weights are the same everywhere; its parts come to be on the device.

    Gradients are then the sums over the processes, since the class head takes the loss of the whole batch. All call
    this, and from then on call the network equally often. Parameters without dimension stay whole. side: of an image
    (pixels). Raises ConfigError for a network that cannot be called in this way.
    """
    mesh = init_device_mesh(device.type, (processes.world,))
    embedder.to(memory_format=torch.contiguous_format)  # all that torch shares out; what is computed stays the same
    whole = {each for each in embedder.parameters() if each.ndim == 0}
    for module in (*units(embedder.backbone), embedder):
        module.register_forward_hook(_own_memory)
        fully_shard(module, mesh=mesh, reshard_after_forward=True, ignored_params=whole)
        assert isinstance(module, FSDPModule)
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)  # gloo has sums alone
    embedder.to(device)
    _try(embedder, device, side)


def units(backbone: nn.Module) -> list[nn.Module]:
    """The modules whose weights are gathered together: mostly the blocks of a network, or stages of small ones.

    Members of Sequential, ModuleList and ModuleDict, since these are called as modules are. Where they hold less than
    half of the weights, the backbone's children. None has a weight that others use too.
    """
    total, everywhere = _size(backbone), _uses(backbone)
    found = _within(backbone, total)
    if sum(map(_size, found)) < total / 2:
        found = [each for each in backbone.children() if _is_called(each) and _size(each) >= TINY * total]
    return [each for each in found if all(count == everywhere[key] for key, count in _uses(each).items())]


def _within(module: nn.Module, total: int) -> list[nn.Module]:
    found: list[nn.Module] = []
    for child in module.children():
        inner, size = _within(child, total), _size(child)
        alone = isinstance(module, CONTAINERS) and _is_called(child) and size >= TINY * total
        if alone and (size <= SMALL * total or sum(map(_size, inner)) < size / 2):
            found.append(child)
        else:
            found += inner
    return found


def _is_called(module: nn.Module) -> bool:
    """Whether it has parts and a forward of its own."""
    return bool(list(module.children())) and not isinstance(module, nn.ModuleList | nn.ModuleDict)


def _uses(module: nn.Module) -> Counter[int]:
    """How often each parameter, by its id, is there."""
    return Counter(id(each) for _, each in module.named_parameters(remove_duplicate=False))


def _size(module: nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())


def _own_memory(module: nn.Module, inputs: object, output: Any) -> Any:
    """Copies of what is a view: torch waits for the gradient at it, and an in-place operation would take that away."""
    if isinstance(output, Tensor):
        return output.clone() if output._base is not None and torch.is_grad_enabled() else output
    if isinstance(output, list | tuple) and type(output) in (list, tuple):
        return type(output)(_own_memory(module, inputs, each) for each in output)
    return output


def _try(embedder: Embedder, device: torch.device, side: int) -> None:
    """Raises ConfigError where a part of it is used otherwise than by a call, so that its weights are not there.

    One image, without gradients.
    """
    training = embedder.training
    embedder.eval()
    try:
        with torch.no_grad():
            embedder(torch.zeros(1, 3, side, side, device=device))
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        if is_loss(error):
            raise
        first = shorten(str(error) or type(error).__name__, 80, placeholder=" …")
        raise ConfigError(
            f"shard_network: {type(embedder.backbone).__name__} cannot be shared out ({first}); set it to false"
        ) from error
    embedder.train(training)


def is_sharded(network: nn.Module) -> bool:
    """Whether all processes must call it equally often."""
    return isinstance(network, FSDPModule)


def is_in_parts(tensor: Tensor) -> bool:
    """Whether each process has some rows of it."""
    return isinstance(tensor, DTensor)


@torch.no_grad()
def own_part(tensor: Tensor) -> Tensor:
    """The rows that this process has of a tensor that is shared out, in its memory; any other as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def rows_of(shared: Tensor, rank: int, world: int) -> slice:
    """Which rows of the whole a process has: as torch.chunk shares them."""
    rows, each = len(shared), -(-len(shared) // world)
    return slice(min(rank * each, rows), min((rank + 1) * each, rows))


def from_own_part(part: Tensor, shared: Tensor) -> Tensor:
    """A tensor shared out as `shared` is, of the rows of each process."""
    assert isinstance(shared, DTensor)
    part = part.to(shared.device).contiguous()  # as the weights: torch's fused optimizers go through memory
    return DTensor.from_local(part, shared.device_mesh, shared.placements, shape=shared.shape, stride=shared.stride())
